// Package gatewaypools uses gateway pools from Go, with database/sql and lib/pq.
package gatewaypools

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"
)

// ErrTransport is wrapped by the error of an operation that could not reach its agent, before
// anything was sent through it.
var ErrTransport = errors.New("transport failure")

// ErrNoEligibleAgent is returned where a pool has no agent that can be used.
var ErrNoEligibleAgent = errors.New("no eligible agent")

// CreatePool makes a pool of agents, and returns its id.
func CreatePool(ctx context.Context, db *sql.DB, tenant, name string, agents []string) (pool string, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer tx.Rollback()
	if err = tx.QueryRowContext(ctx, "SELECT id FROM create_gateway_pool($1, $2)", tenant, name).Scan(&pool); err != nil {
		return "", err
	}
	if _, err = tx.ExecContext(ctx, "SELECT set_gateway_pool_members($1, $2, $3)", tenant, pool, pq.Array(agents)); err != nil {
		return "", err
	}
	return pool, tx.Commit()
}

// Pick returns an eligible agent of a pool, none of those in exclude.
func Pick(ctx context.Context, db *sql.DB, tenant, name string, exclude ...string) (agent string, err error) {
	err = db.QueryRowContext(ctx, "SELECT pick_healthy_gateway(gateway_pool_id($1, $2), exclude => coalesce($3::uuid[], '{}'))",
		tenant, name, pq.Array(exclude)).Scan(&agent)
	var refusal *pq.Error
	// Errors of gateway_pool are told apart by the name of the constraint.
	if errors.As(err, &refusal) && refusal.Constraint == "gateway_pools_no_eligible_member" {
		err = fmt.Errorf("%w: %s", ErrNoEligibleAgent, refusal.Detail)
	}
	return agent, err
}

// WithFailover runs an operation through an agent of a pool.  After an ErrTransport, it reports
// that and tries another agent: at most three in all.  Any other error ends it, because the
// operation may have had an effect.
func WithFailover(ctx context.Context, db *sql.DB, tenant, name string, operation func(agent string) error) error {
	var tried []string
	for {
		agent, err := Pick(ctx, db, tenant, name, tried...)
		if err != nil {
			return err
		}
		failure := operation(agent)
		if !errors.Is(failure, ErrTransport) {
			return failure
		}
		tried = append(tried, agent)
		if _, err = db.ExecContext(ctx, "SELECT report_gateway_failure($1, $2)", agent, printable(failure.Error())); err != nil {
			return err
		}
		if len(tried) == 3 {
			return failure
		}
	}
}

// printable replaces what is not ASCII, or is a control character.  A message may have a text of the
// agent: nothing in it must make the report fail.
func printable(message string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, message)
}
