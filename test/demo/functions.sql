-- Functions of the demo, in a schema of their own.

CREATE SCHEMA demo;

-- Picks (NULL: no gateway), and checks that the gateway had not expired when the pick began. The expiry is
-- read after the pick: heartbeats only postpone it.
CREATE FUNCTION demo.pick(pool uuid) RETURNS uuid
LANGUAGE plpgsql AS $function$
DECLARE
    began timestamptz := clock_timestamp();
    picked uuid := pick_healthy_gateway(pool, null_if_none => true);
    expires timestamptz;
BEGIN
    SELECT m."heartbeatExpiresAt" INTO expires
      FROM gateway_pool_members AS m
     WHERE m."gatewayPoolId" = pool AND m."gatewayId" = picked;
    IF picked IS NOT NULL AND (expires > began) IS NOT TRUE THEN
        RAISE 'gateway % was picked at %, although it had expired at %', picked, began, expires;
    END IF;
    RETURN picked;
END
$function$;

-- Picks without a pause while the answer is "before" (NULL: no gateway), then for half a second more. Returns
-- the time that the change took: from the expiry of "before", or from the COMMIT of the heartbeat of the new
-- gateway. The advisory lock shows other sessions that picking has begun.
CREATE FUNCTION demo.measure_change(
    pool uuid, before uuid, OUT picks int, OUT after text, OUT milliseconds numeric)
LANGUAGE plpgsql AS $function$
DECLARE
    began timestamptz := clock_timestamp();
    picked uuid;
    cause timestamptz;
    change timestamptz;
BEGIN
    picks := 0;
    LOOP
        picked := demo.pick(pool);
        picks := picks + 1;

        IF change IS NULL AND picked IS DISTINCT FROM before THEN
            change := clock_timestamp();
            SELECT g.name, pg_xact_commit_timestamp(g.xmin) INTO after, cause
              FROM gateways_v2 AS g WHERE g.id = picked;
            IF before IS NOT NULL THEN
                SELECT m."heartbeatExpiresAt" INTO cause
                  FROM gateway_pool_members AS m
                 WHERE m."gatewayPoolId" = pool AND m."gatewayId" = before;
            END IF;
            milliseconds := round((1000 * extract(epoch FROM change - cause))::numeric, 2);
        END IF;

        IF change IS NOT NULL AND (picks = 1 OR picked IS NULL OR milliseconds < 0) THEN
            RAISE 'pick % returned % at %, cause of the change at %', picks, picked, change, cause;
        END IF;
        IF picks = 1 THEN
            PERFORM pg_advisory_lock(1);
        END IF;
        IF change IS NULL AND clock_timestamp() > began + interval '15 s' THEN
            RAISE 'the picks did not change';
        END IF;
        EXIT WHEN clock_timestamp() > change + interval '500 ms';
    END LOOP;
END
$function$;

-- Picks without a pause until the answer is one of "wanted" ("none": no gateway). Returns the time of that pick,
-- in seconds since 1970.
CREATE FUNCTION demo.await_pick(pool uuid, wanted text[], OUT picks int, OUT picked text, OUT at numeric)
LANGUAGE plpgsql AS $function$
DECLARE
    began timestamptz := clock_timestamp();
    answer uuid;
BEGIN
    picks := 0;
    LOOP
        answer := pick_healthy_gateway(pool, null_if_none => true);
        at := extract(epoch FROM clock_timestamp());
        picked := coalesce((SELECT g.name FROM gateways_v2 AS g WHERE g.id = answer), 'none');
        picks := picks + 1;
        IF picks = 1 THEN
            PERFORM pg_advisory_lock(1);
        END IF;
        EXIT WHEN picked = ANY (wanted);
        IF clock_timestamp() > began + interval '20 s' THEN
            RAISE 'the picks did not change';
        END IF;
    END LOOP;
END
$function$;

-- The live table: the pool's badge, its members, and the gateways of 40 picks.
CREATE FUNCTION demo.live_table(pool uuid) RETURNS SETOF text
LANGUAGE plpgsql AS $function$
BEGIN
    RETURN QUERY
        SELECT format('pool %s: %s (%s), connected resources: %s',
                      s.name, s.label, s.health, s."connectedResourcesCount")
          FROM gateway_pool_status AS s WHERE s.id = pool;
    RETURN NEXT 'gateway    priority weight  status     reason             expires in  share';
    RETURN QUERY
        SELECT format('%-10s %8s %6s  %-9s  %-17s  %8s s  %3s %%', m.name, m."pickPriority", m."pickWeight", e.status,
                      e.reason,
                      round(extract(epoch FROM m."heartbeatExpiresAt" - clock_timestamp())::numeric, 1),
                      round(100 * e.share))
          FROM explain_gateway_pick(pool) AS e
          JOIN gateway_pool_members AS m ON m."gatewayId" = e."gatewayId" AND m."gatewayPoolId" = pool
         ORDER BY m."pickPriority", m.name;
    RETURN QUERY
        SELECT 'last 40 picks: ' || string_agg(format('%s %s', p.name, p.times), ', ' ORDER BY p.name)
          FROM (SELECT coalesce(g.name, 'none') AS name, count(*) AS times
                  FROM (SELECT demo.pick(pool) AS id FROM generate_series(1, 40)) AS picked
                  LEFT JOIN gateways_v2 AS g USING (id)
                 GROUP BY 1) AS p;
END
$function$;
