// Runs against the database of ../application.sql that PGHOST, PGDATABASE and PGUSER name.
package gatewaypools

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/lib/pq"
)

// An agent listens on a port of this machine, and answers each connection with its id.
type agent struct {
	id, address string
	listener    net.Listener
}

type office struct {
	*testing.T
	db     *sql.DB
	tenant string
	agents []*agent
}

func (o *office) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (a *agent) listen(t *office, address string) {
	listener, err := net.Listen("tcp", address)
	t.must(err)
	a.listener, a.address = listener, listener.Addr().String()
	go func() {
		for {
			peer, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(peer, a.id)
			peer.Close()
		}
	}()
	t.Cleanup(func() { listener.Close() })
}

// makeOffice makes a tenant with a pool of agents that have just reported a heartbeat.
func makeOffice(t *testing.T, count int) *office {
	db, err := sql.Open("postgres", "sslmode=disable")
	o := &office{T: t, db: db}
	o.must(err)
	t.Cleanup(func() { db.Close() })
	o.must(db.QueryRow("INSERT INTO tenants DEFAULT VALUES RETURNING id").Scan(&o.tenant))
	ids := []string{}
	for n := 0; n < count; n++ {
		a := &agent{}
		a.listen(o, "127.0.0.1:0")
		o.must(db.QueryRow("INSERT INTO agents (tenant, address) VALUES ($1, $2) RETURNING id", o.tenant, a.address).Scan(&a.id))
		_, err = db.Exec("SELECT record_gateway_heartbeat($1, '1 hour')", a.id)
		o.must(err)
		o.agents, ids = append(o.agents, a), append(ids, a.id)
	}
	_, err = CreatePool(context.Background(), db, o.tenant, "office", ids)
	o.must(err)
	return o
}

// call returns an operation that connects to an agent, and keeps what that sends.
func (o *office) call(answer *string) func(string) error {
	return func(id string) error {
		var address string
		o.must(o.db.QueryRow("SELECT address FROM agents WHERE id = $1", id).Scan(&address))
		peer, err := net.DialTimeout("tcp", address, 10*time.Second)
		if err != nil {
			return fmt.Errorf("%w: %v", ErrTransport, err)
		}
		defer peer.Close()
		sent, err := io.ReadAll(peer)
		*answer = string(sent)
		return err
	}
}

func (o *office) failover(operation func(string) error) error {
	return WithFailover(context.Background(), o.db, o.tenant, "office", operation)
}

func TestPicksByName(t *testing.T) {
	o := makeOffice(t, 2)
	picked, err := Pick(context.Background(), o.db, o.tenant, "office", o.agents[0].id)
	o.must(err)
	if picked != o.agents[1].id {
		t.Errorf("picked %s, which is excluded", picked)
	}
	var refusal *pq.Error
	if _, err = Pick(context.Background(), o.db, o.tenant, "attic"); !errors.As(err, &refusal) || refusal.Constraint != "gateway_pools_not_found" {
		t.Errorf("a pool that does not exist: %v", err)
	}
}

func TestGoesOnThroughTheAgentThatIsLeft(t *testing.T) {
	o := makeOffice(t, 3)
	o.agents[0].listener.Close()
	o.agents[1].listener.Close()
	for n := 0; n < 10; n++ {
		var answer string
		o.must(o.failover(o.call(&answer)))
		if answer != o.agents[2].id {
			t.Errorf("answer %q", answer)
		}
	}
	o.agents[2].listener.Close()
	var answer string
	if err := o.failover(o.call(&answer)); !errors.Is(err, ErrTransport) {
		t.Errorf("all agents are dead: %v", err)
	}
}

func TestGoesOnWhateverTextTheAgentSends(t *testing.T) {
	o := makeOffice(t, 2)
	calls := 0
	o.must(o.failover(func(string) error {
		if calls++; calls == 1 {
			return fmt.Errorf("%w: it says: \x00\xff\n\u20ac", ErrTransport)
		}
		return nil
	}))
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

func TestDoesNotRepeatWhatMayHaveHadAnEffect(t *testing.T) {
	o := makeOffice(t, 2)
	calls, refused := 0, errors.New("wrong password")
	err := o.failover(func(string) error { calls++; return refused })
	if err != refused || calls != 1 {
		t.Errorf("%d calls: %v", calls, err)
	}
}

func TestFailsWhereNoAgentIsEligible(t *testing.T) {
	o := makeOffice(t, 0)
	if err := o.failover(o.call(new(string))); !errors.Is(err, ErrNoEligibleAgent) {
		t.Errorf("a pool without agents: %v", err)
	}
}

func TestHearsWhatHappensBeforeAndAfterTheConnectionIsLost(t *testing.T) {
	o := makeOffice(t, 1)
	a := o.agents[0]
	var last int64
	o.must(o.db.QueryRow("SELECT coalesce(max(id), 0) FROM gateway_health_events").Scan(&last))
	ctx, stop := context.WithCancel(context.Background())
	events, ended := make(chan HealthEvent, 100), make(chan error)
	go func() {
		ended <- WatchHealth(ctx, o.db, "sslmode=disable application_name=news", last, func(e HealthEvent) { events <- e })
	}()
	expect := func(status string) {
		t.Helper()
		for {
			select {
			case e := <-events:
				if e.Agent != a.id {
					continue
				}
				if e.NewStatus != status {
					t.Fatalf("%s where %s is expected", e.NewStatus, status)
				}
				return
			case <-time.After(time.Minute):
				t.Fatalf("no event: %s", status)
			}
		}
	}

	_, err := o.db.Exec("SELECT set_gateway_probe($1, 'tcp', $2)", a.id, a.address)
	o.must(err)
	expect("healthy")
	a.listener.Close()
	expect("unhealthy")
	var terminated int
	o.must(o.db.QueryRow(`SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
		WHERE application_name = 'news' AND datname = current_database()`).Scan(&terminated))
	if terminated != 1 {
		t.Fatalf("%d connections listened", terminated)
	}
	a.listen(o, a.address)
	expect("healthy")
	stop()
	if err := <-ended; err != context.Canceled {
		t.Errorf("the watch ended: %v", err)
	}
}
