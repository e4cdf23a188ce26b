package gatewaypools

import (
	"context"
	"database/sql"
	"log"
	"time"

	"github.com/lib/pq"
)

// A HealthEvent is a change of an agent's health.
type HealthEvent struct {
	ID                   int64
	Agent                string
	OldStatus, NewStatus string
	Reason               sql.NullString
}

// WatchHealth calls onEvent for each change of an agent's health after event lastID, in order,
// until ctx is done.
//
// A notification only says that there is something to read: one that was sent while there was no
// connection is lost, its event is not.  So the events are read when the connection is made, at
// each notification, and each 30 seconds, when a connection that is dead is found, too.
//
// conninfo leads to the server itself: LISTEN does not work through PgBouncer in transaction mode,
// and not on a standby.
func WatchHealth(ctx context.Context, db *sql.DB, conninfo string, lastID int64, onEvent func(HealthEvent)) error {
	listener := pq.NewListener(conninfo, time.Second, 30*time.Second, func(_ pq.ListenerEventType, err error) {
		if err != nil {
			log.Printf("no news of agents: %v", err)
		}
	})
	defer listener.Close()
	if err := listener.Listen("gateway_health"); err != nil {
		return err
	}
	for {
		events, err := eventsAfter(ctx, db, lastID)
		if err != nil && ctx.Err() == nil {
			log.Printf("cannot read the health of agents: %v", err)
		}
		for _, event := range events {
			onEvent(event)
			lastID = event.ID
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-listener.Notify: // nil after each new connection
		case <-time.After(30 * time.Second):
			go listener.Ping()
		}
	}
}

// eventsAfter returns the changes of health after an event.
func eventsAfter(ctx context.Context, db *sql.DB, lastID int64) (events []HealthEvent, err error) {
	rows, err := db.QueryContext(ctx, `SELECT id, "gatewayId", "oldStatus", "newStatus", reason
		FROM gateway_health_events WHERE id > $1 ORDER BY id`, lastID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var event HealthEvent
		if err = rows.Scan(&event.ID, &event.Agent, &event.OldStatus, &event.NewStatus, &event.Reason); err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, rows.Err()
}
