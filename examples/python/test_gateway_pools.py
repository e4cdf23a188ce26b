"""Runs against the database of ../application.sql that PGHOST, PGDATABASE and PGUSER name."""

import queue
import socket
import threading
import unittest
from uuid import UUID

import psycopg

from gateway_pools import NoEligibleAgent, TransportFailure, create_pool, pick, watch_health, with_failover


class Agent:
    """An agent that listens on a port of this machine, and answers each connection with its id."""

    def __init__(self, connection: psycopg.Connection, tenant: UUID):
        self.listen(0)
        (self.id,) = connection.execute(
            "INSERT INTO agents (tenant, address) VALUES (%s, %s) RETURNING id", [tenant, self.address]
        ).fetchone()

    def listen(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.serve, args=[self.listener], daemon=True).start()

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                with client:
                    client.sendall(str(self.id).encode())
            except OSError:
                if listener.fileno() < 0:
                    return

    def die(self) -> None:
        # Without shutdown(), a thread in accept() would keep the port.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class GatewayPools(unittest.TestCase):
    def setUp(self):
        self.connection = psycopg.connect(autocommit=True)
        self.addCleanup(self.connection.close)
        (self.tenant,) = self.connection.execute("INSERT INTO tenants DEFAULT VALUES RETURNING id").fetchone()

    def make_office(self, count: int) -> list[Agent]:
        """Make a pool of agents that have just reported a heartbeat."""
        agents = [Agent(self.connection, self.tenant) for _ in range(count)]
        create_pool(self.connection, self.tenant, "office", [agent.id for agent in agents])
        for agent in agents:
            self.connection.execute("SELECT record_gateway_heartbeat(%s, '1 hour')", [agent.id])
        return agents

    def call(self, agent: UUID) -> UUID:
        """Connect to an agent, and return what it sends."""
        (address,) = self.connection.execute("SELECT address FROM agents WHERE id = %s", [agent]).fetchone()
        try:
            with socket.create_connection(("127.0.0.1", int(address.split(":")[1])), timeout=10) as peer:
                return UUID(peer.recv(100).decode())
        except OSError as error:
            raise TransportFailure(str(error)) from error

    def test_picks_by_name(self):
        first, second = self.make_office(2)
        self.assertEqual(pick(self.connection, self.tenant, "office", exclude=[first.id]), second.id)
        with self.assertRaises(psycopg.Error) as caught:
            pick(self.connection, self.tenant, "attic")
        self.assertEqual(caught.exception.diag.constraint_name, "gateway_pools_not_found")

    def test_goes_on_through_the_agent_that_is_left(self):
        agents = self.make_office(3)
        agents[0].die()
        agents[1].die()
        for _ in range(10):
            self.assertEqual(with_failover(self.connection, self.tenant, "office", self.call), agents[2].id)
        agents[2].die()
        with self.assertRaises(TransportFailure):
            with_failover(self.connection, self.tenant, "office", self.call)

    def test_goes_on_whatever_text_the_agent_sends(self):
        self.make_office(2)
        calls = []

        def hostile_first(agent: UUID) -> None:
            calls.append(agent)
            if len(calls) == 1:
                raise TransportFailure("it says: \0\ud800\n\u20ac")

        with_failover(self.connection, self.tenant, "office", hostile_first)
        self.assertEqual(len(set(calls)), 2)

    def test_does_not_repeat_what_may_have_had_an_effect(self):
        self.make_office(2)
        calls = []

        def refused(agent: UUID) -> None:
            calls.append(agent)
            raise ValueError("wrong password")

        with self.assertRaisesRegex(ValueError, "wrong password"):
            with_failover(self.connection, self.tenant, "office", refused)
        self.assertEqual(len(calls), 1)

    def test_fails_where_no_agent_is_eligible(self):
        self.make_office(0)
        with self.assertRaises(NoEligibleAgent):
            with_failover(self.connection, self.tenant, "office", self.call)

    def test_hears_what_happens_before_and_after_the_connection_is_lost(self):
        (last,) = self.connection.execute("SELECT coalesce(max(id), 0) FROM gateway_health_events").fetchone()
        (agent,) = self.make_office(1)
        stop = threading.Event()
        events = queue.Queue()
        watcher = threading.Thread(target=watch_health, args=["application_name=news", last, events.put, stop])
        watcher.start()
        self.addCleanup(watcher.join)
        self.addCleanup(stop.set)

        def next_status() -> str:
            while (event := events.get(timeout=60)).agent != agent.id:
                pass
            return event.new_status

        self.connection.execute("SELECT set_gateway_probe(%s, 'tcp', %s)", [agent.id, agent.address])
        self.assertEqual(next_status(), "healthy")
        agent.die()
        self.assertEqual(next_status(), "unhealthy")
        ended = self.connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = 'news' AND datname = current_database()"
        ).fetchall()
        self.assertEqual(ended, [(True,)])
        agent.listen(agent.port)
        self.assertEqual(next_status(), "healthy")


if __name__ == "__main__":
    unittest.main()
