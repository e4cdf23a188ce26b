"""Gateway pools for an application of one's own, with psycopg 3.

The functions take a connection in autocommit mode: a failover would keep a transaction
open while it waits for the network.
"""

import logging
import re
import select
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row

Result = TypeVar("Result")


class TransportFailure(Exception):
    """Raised by an operation that could not reach its agent, before anything was sent."""


class NoEligibleAgent(Exception):
    """Raised where a pool has no agent that can be used."""


class HealthEvent(NamedTuple):
    """A change of an agent's health."""

    id: int
    agent: UUID
    old_status: str
    new_status: str
    reason: str | None


def create_pool(connection: psycopg.Connection, tenant: UUID, name: str, agents: Sequence[UUID]) -> UUID:
    """Make a pool of agents, and return its id."""
    with connection.transaction():
        (pool,) = connection.execute("SELECT id FROM create_gateway_pool(%s, %s)", [tenant, name]).fetchone()
        connection.execute("SELECT set_gateway_pool_members(%s, %s, %s)", [tenant, pool, list(agents)])
    return pool


def pick(connection: psycopg.Connection, tenant: UUID, name: str, exclude: Sequence[UUID] = ()) -> UUID:
    """Return an eligible agent of a pool."""
    try:
        (agent,) = connection.execute(
            "SELECT pick_healthy_gateway(gateway_pool_id(%s, %s), exclude => %s)", [tenant, name, list(exclude)]
        ).fetchone()
    except psycopg.Error as error:
        # Errors of gateway_pool are told apart by the name of the constraint.
        if error.diag.constraint_name == "gateway_pools_no_eligible_member":
            raise NoEligibleAgent(error.diag.message_detail) from error
        raise
    return agent


def with_failover(
    connection: psycopg.Connection, tenant: UUID, name: str, operation: Callable[[UUID], Result]
) -> Result:
    """Run an operation through an agent of a pool, and return its result.

    After a TransportFailure, report it and try another agent: at most three in all.  Any
    other error ends it, because the operation may have had an effect.
    """
    tried: list[UUID] = []
    while True:
        agent = pick(connection, tenant, name, exclude=tried)
        try:
            return operation(agent)
        except TransportFailure as failure:
            tried.append(agent)
            # The message may have a text of the agent: nothing in it must make the report fail.
            reason = re.sub(r"[^ -~]", " ", str(failure))
            connection.execute("SELECT report_gateway_failure(%s, %s)", [agent, reason])
            if len(tried) == 3:
                raise


def watch_health(
    conninfo: str, last_id: int, on_event: Callable[[HealthEvent], None], stop: threading.Event
) -> None:
    """Call on_event for each change of an agent's health after event last_id, in order.

    A notification only says that there is something to read: one that was sent while there
    was no connection is lost, its event is not.  So the events are read when the connection
    is made, at each notification, and each 30 seconds, which also finds a connection that
    is dead.

    The connection goes to the server itself: LISTEN does not work through PgBouncer in
    transaction mode, and not on a standby.
    """
    while not stop.is_set():
        try:
            with psycopg.connect(conninfo, autocommit=True, connect_timeout=10) as connection:
                heard = []
                connection.add_notify_handler(heard.append)
                connection.execute("LISTEN gateway_health")
                while not stop.is_set():
                    heard.clear()
                    for event in events_after(connection, last_id):
                        on_event(event)
                        last_id = event.id
                    wait_for_notification(connection, heard, stop)
        except psycopg.OperationalError as error:
            logging.warning("no news of agents: %s", error)
            stop.wait(1)


def events_after(connection: psycopg.Connection, last_id: int) -> list[HealthEvent]:
    """Return the changes of health after an event."""
    cursor = connection.cursor(row_factory=class_row(HealthEvent))
    return cursor.execute(
        """SELECT id, "gatewayId" AS agent, "oldStatus" AS old_status, "newStatus" AS new_status, reason
           FROM gateway_health_events WHERE id > %s ORDER BY id""",
        [last_id],
    ).fetchall()


def wait_for_notification(connection: psycopg.Connection, heard: list, stop: threading.Event) -> None:
    """Wait until a notification has arrived, at most 30 seconds."""
    for _ in range(30):
        if heard or stop.is_set():
            return
        if select.select([connection], [], [], 1)[0]:
            connection.execute("")
