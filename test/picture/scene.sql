-- A pool of three gateways that are probed, and what records its picks: -v port=PORT, where
-- gateway-1 listens on PORT + 1.

CREATE TABLE organizations (id uuid PRIMARY KEY DEFAULT gen_random_uuid());
CREATE TABLE gateways (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    organization uuid NOT NULL REFERENCES organizations);
CREATE EXTENSION gateway_pool;
SELECT install_gateway_pools(organizations => 'organizations', gateways => 'gateways');

INSERT INTO organizations DEFAULT VALUES RETURNING id AS org \gset
INSERT INTO gateways (name, organization) SELECT 'gateway-' || n, :'org' FROM generate_series(1, 3) AS n;
SELECT set_gateway_pool_entitlement(:'org', enabled => true);
SELECT id AS pool FROM create_gateway_pool(:'org', 'office') \gset
-- gateway-1 is preferred, the others are in reserve.
SELECT add_gateway_to_pool(:'org', :'pool', id, priority => (name <> 'gateway-1')::int) FROM gateways;
SELECT set_gateway_probe(id, 'tcp', '127.0.0.1:' || :'port'::int + right(name, 1)::int) FROM gateways;

-- What the picture shows: "what" is pick, health or event.
CREATE TABLE records (what text, at timestamptz DEFAULT clock_timestamp(), gateway text, value text);

-- Picks and reads the health of all members ten times a second.
CREATE PROCEDURE record(seconds int) LANGUAGE plpgsql AS $procedure$
DECLARE
    pool uuid := (SELECT id FROM gateway_pools);
    next timestamptz := clock_timestamp();
    last timestamptz := next + make_interval(secs => seconds);
BEGIN
    WHILE next < last LOOP
        INSERT INTO records (what, gateway)
            SELECT 'pick', coalesce(g.name, 'none')
              FROM pick_healthy_gateway(pool, null_if_none => true) AS p (id) LEFT JOIN gateways AS g USING (id);
        INSERT INTO records (what, gateway, value) SELECT 'health', name, status FROM gateway_pool_members;
        COMMIT;
        next := next + interval '100 ms';
        PERFORM pg_sleep(extract(epoch FROM next - clock_timestamp()));
    END LOOP;
END
$procedure$;

-- What is plotted, with seconds since the first pick and gateways as numbers (none is 0): picks and events by
-- their time, health by the times between which it was the same, as its color.
CREATE VIEW timed AS
    SELECT *, extract(epoch FROM at - (SELECT min(at) FROM records WHERE what = 'pick'))::numeric(6, 2) AS second,
           coalesce(substring(gateway FROM '\d')::int, 0) AS number
      FROM records;
CREATE VIEW pick AS SELECT second, number FROM timed WHERE what = 'pick' ORDER BY second;
CREATE VIEW event AS SELECT second, value FROM timed WHERE what = 'event' ORDER BY second;
CREATE VIEW health AS
    SELECT min(second), max(until), number,
           CASE value WHEN 'healthy' THEN '0x2e9e5b' WHEN 'degraded' THEN '0xe0a800' WHEN 'unhealthy' THEN '0xd64545'
                      ELSE '0xb0b0b0' END
      FROM (SELECT *, count(*) FILTER (WHERE changed) OVER (PARTITION BY number ORDER BY second) AS run
              FROM (SELECT *, value IS DISTINCT FROM lag(value) OVER w AS changed,
                           coalesce(lead(second) OVER w, second) AS until
                      FROM timed WHERE what = 'health' WINDOW w AS (PARTITION BY number ORDER BY second)) AS marked) AS runs
     GROUP BY number, run, value
     ORDER BY 1;
