\i test/setup.sql
-- Bad input raises a clear error with its SQLSTATE, and changes nothing.
SELECT host_test.make_host('app', 2);
CREATE EXTENSION gateway_pool SCHEMA app;
\i test/first_pick.sql
\set acme '\'00000000-0000-0000-0000-00000000000a\''
SELECT host_test.add_org('app', 'acme', :acme);
SELECT host_test.add_gateway('app', :acme, 'g1', '0', '00000000-0000-0000-0000-0000000000a1');
SELECT set_gateway_pool_entitlement(:acme, true);
INSERT INTO gateway_pools (id, "orgId", name) VALUES ('00000000-0000-0000-0000-000000000001', :acme, 'eu');
CREATE FUNCTION public.all_fail(VARIADIC statements text[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT s || E'\n' || (SELECT string_agg(e, E'\n') FROM fails(s) e) FROM unnest(statements) WITH ORDINALITY u (s, n) ORDER BY n
$$;

-- Picks.
SELECT all_fail(
    $$SELECT pick_healthy_gateway(NULL)$$,
    $$SELECT pick_healthy_gateway('x')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-0000000000ff')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => NULL)$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => 'best')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', strategy => 'Random')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '[]')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => '"pkcs11"')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', capabilities => 'null')$$,
    $$SELECT pick_healthy_gateway('00000000-0000-0000-0000-000000000001', null_if_none => NULL)$$,
    $$SELECT pick_healthy_gateways(NULL)$$,
    $$SELECT pick_healthy_gateways('00000000-0000-0000-0000-000000000001', -1)$$,
    $$SELECT explain_gateway_pick(NULL)$$,
    $$SELECT explain_gateway_pick('00000000-0000-0000-0000-0000000000ff')$$,
    $$SELECT resolve_gateway(NULL, NULL)$$,
    $$SELECT resolve_gateway(NULL, '00000000-0000-0000-0000-0000000000ff')$$);

-- Endpoints.
SELECT all_fail(
    $$SELECT create_gateway_pool(NULL, 'x')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-0000000000ff', 'x')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', '')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', '  ')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'a b')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'a--b')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'a_b')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', 'ä')$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', repeat('a', 33))$$,
    $$SELECT create_gateway_pool('00000000-0000-0000-0000-00000000000a', repeat('a', 1000000))$$,
    $$SELECT list_gateway_pools(NULL)$$,
    $$SELECT get_gateway_pool(NULL, NULL)$$,
    $$SELECT get_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$,
    $$SELECT update_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL, 'x')$$,
    $$SELECT delete_gateway_pool('00000000-0000-0000-0000-00000000000a', NULL)$$,
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', NULL, NULL)$$,
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', NULL)$$,
    $$SELECT remove_gateway_from_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', NULL)$$,
    $$SELECT get_gateway_pool_resources('00000000-0000-0000-0000-00000000000a', NULL)$$,
    $$SELECT get_gateway_pool_plan(NULL)$$,
    $$SELECT set_gateway_pool_entitlement(NULL, true)$$,
    $$SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', NULL)$$,
    $$SELECT set_gateway_state(NULL, 'active')$$,
    $$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', NULL)$$,
    $$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000a1', 'Draining')$$,
    $$SELECT set_gateway_state('00000000-0000-0000-0000-0000000000ff', 'draining')$$,
    $$SELECT uninstall_gateway_pools(NULL)$$);
-- The DETAIL of these errors shows the whole row with its times, so print the first two lines.
SELECT (SELECT string_agg(e, E'\n') FROM (SELECT e FROM fails(s) e LIMIT 2) f (e)) FROM unnest(ARRAY[
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1', weight => -1)$$,
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1', weight => 1001)$$,
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1', weight => NULL)$$,
    $$SELECT add_gateway_to_pool('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-0000000000a1', priority => 40000)$$,
    $$SELECT set_gateway_pool_entitlement('00000000-0000-0000-0000-00000000000a', true, max_pools => -2)$$]) s;

-- Invalid addresses of probes are refused when written, and not repeated.  None of these is ever probed.
BEGIN;
SELECT n, fails(format('INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES (%L, %L, %L)',
                       '00000000-0000-0000-0000-0000000000a1', 'tcp', a))
  FROM unnest(ARRAY['host', 'host:0', 'host:99999', '[::1', 'a b:1', 'http://x', 'u@h:1', repeat('x', 300) || ':1', '$(id):1', E'a\u0007:1',
                    E'a\r\nHost: x:1', '', '2130706433:80', '0x7f.1:80', '127.0.0.1:80', '[::1]:80', '169.254.169.254:80',
                    '[::ffff:10.0.0.1]:80', '0.0.0.0:80', '224.0.0.1:80']) WITH ORDINALITY u (a, n);
INSERT INTO gateway_probes ("gatewayId", protocol, address) VALUES ('00000000-0000-0000-0000-0000000000a1', 'tcp', '192.0.2.1:443');
SELECT fails($$UPDATE gateway_probes SET address = 'host'$$);
SELECT (SELECT string_agg(e, E'\n') FROM (SELECT e FROM fails(s) e LIMIT 2) f (e)) FROM unnest(ARRAY[
    $$UPDATE gateway_probes SET address = NULL$$,
    $$UPDATE gateway_probes SET protocol = 'udp'$$,
    $$UPDATE gateway_probes SET path = 'no-slash'$$,
    $$UPDATE gateway_probes SET path = E'/a\r\nb'$$,
    $$UPDATE gateway_probes SET "expectedStatus" = '999'$$,
    $$UPDATE gateway_probes SET "serverName" = 'a b'$$,
    $$UPDATE gateway_probes SET "intervalMs" = 0$$,
    $$UPDATE gateway_probes SET "intervalMs" = 1000, "timeoutMs" = 1001$$,
    $$UPDATE gateway_probes SET rise = 0$$,
    $$UPDATE gateway_probes SET fall = -1$$]) s;
UPDATE gateway_probes SET address = '[2001:db8::1]:8443', protocol = 'https', path = '/health?x=1', "expectedStatus" = '200-399',
    "serverName" = 'gateway.example.org', "intervalMs" = 1000, "timeoutMs" = 1000, rise = 1, fall = 2;

-- No statement above changed anything.
SELECT (SELECT string_agg(name, ' ') FROM gateway_pools), (SELECT count(*) FROM gateway_pool_memberships),
       (SELECT count(*) FROM gateway_states), (SELECT string_agg(address, ' ') FROM gateway_probes);
SELECT fails(s) FROM unnest(ARRAY[
    $$UPDATE gateway_probes SET "intervalMs" = NULL, "timeoutMs" = 2001$$,
    $$UPDATE gateway_probes SET "caCertificate" = 'no certificate'$$,
    $$SELECT set_gateway_probe(NULL, 'tcp', '192.0.2.1:1')$$,
    $$SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', NULL, '192.0.2.1:1')$$,
    $$SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'tcp', NULL)$$,
    $$SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'udp', '192.0.2.1:1')$$,
    $$SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'tls', '192.0.2.1:1', verify_tls => NULL)$$,
    $$SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000ff', 'tcp', '192.0.2.1:1')$$,
    $$SELECT clear_gateway_probe(NULL)$$,
    $$SELECT probe_gateway(NULL)$$,
    $$SELECT probe_gateway('00000000-0000-0000-0000-0000000000a1', NULL)$$,
    $$SELECT probe_gateway('00000000-0000-0000-0000-0000000000a1', '0 s')$$,
    $$SELECT probe_gateway('00000000-0000-0000-0000-0000000000ff')$$,
    $$SELECT probe_gateway('00000000-0000-0000-0000-0000000000a1')$$]) s;
SELECT set_gateway_probe('00000000-0000-0000-0000-0000000000a1', 'tls', '192.0.2.1:8443', probe_interval => '1.5 s', timeout => '200 ms', required => false);
SELECT address, "intervalMs", "timeoutMs", "verifyTls", required, path FROM gateway_probes;
SELECT clear_gateway_probe(id) FROM gateways_v2 ORDER BY id;
ROLLBACK;
DROP FUNCTION public.all_fail;
