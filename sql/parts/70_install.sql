
-- The tables, their keys and their triggers: ordinary objects, not members of
-- the extension, so that pg_dump carries them and DROP EXTENSION takes no data.

CREATE FUNCTION is_extension_script() RETURNS boolean
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'gateway_pool_is_extension_script';
COMMENT ON FUNCTION is_extension_script() IS
    'used by install_gateway_pools(): whether a script of CREATE or ALTER EXTENSION is running';

CREATE FUNCTION gateway_pool_host_tables(
    OUT organizations regclass,
    OUT gateways regclass,
    OUT kubernetes_auths regclass)
    LANGUAGE sql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH key (relation, attribute, referenced) AS (
        SELECT k.conrelid::regclass, a.attname, k.confrelid::regclass
          FROM pg_constraint k
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
         WHERE k.contype = 'f' AND k.connamespace = '@extschema@'::regnamespace)
    SELECT coalesce((SELECT k.referenced FROM key k
                      WHERE k.relation = to_regclass('@extschema@.gateway_pools') AND k.attribute = 'orgId'),
                    to_regclass('@extschema@.organizations')),
           coalesce((SELECT k.referenced FROM key k
                      WHERE k.relation = to_regclass('@extschema@.gateway_pool_memberships') AND k.attribute = 'gatewayId'),
                    to_regclass('@extschema@.gateways_v2')),
           coalesce(to_regclass('@extschema@.identity_kubernetes_auths'),
                    (SELECT k.relation FROM key k JOIN key i ON i.relation = k.relation
                      WHERE k.referenced = to_regclass('@extschema@.gateway_pools')
                        AND k.attribute = 'gatewayPoolId' AND i.attribute = 'identityId'
                      ORDER BY k.relation LIMIT 1))
$$;
COMMENT ON FUNCTION gateway_pool_host_tables() IS
    'used by install_gateway_pools() and check_gateway_pools(): the host''s tables, as the foreign keys of ours '
    'name them, else by their usual names';

CREATE FUNCTION gateway_pool_parts(organizations regclass, gateways regclass, kubernetes_auths regclass)
    RETURNS TABLE (
        kind text,
        relation text,
        name text,
        present boolean,
        command text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    extension_schema CONSTANT oid := '@extschema@'::regnamespace;
    kubernetes_name CONSTANT name := (SELECT c.relname FROM pg_class c WHERE c.oid = kubernetes_auths);
    kubernetes_prefix CONSTANT text := coalesce(lower(kubernetes_name), '');
    gateways_name CONSTANT name := (SELECT c.relname FROM pg_class c WHERE c.oid = gateways);
    identities CONSTANT regclass :=
        (SELECT k.confrelid
           FROM pg_constraint k
           JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
          WHERE k.conrelid = kubernetes_auths AND k.contype = 'f' AND a.attname = 'identityId');
    consumer_arguments CONSTANT text := format('%L, %L, %L', 'gatewayPoolId', 'gatewayV2Id',
        coalesce(format('SELECT i."orgId" FROM %s i WHERE i.id = ($1)."identityId"', identities), ''));
    touch CONSTANT text :=
        CASE WHEN to_regprocedure('@extschema@.on_update_timestamp()') IS NULL
             THEN '@extschema@.gateway_pool_set_timestamp(''updatedAt'')'
             ELSE '@extschema@.on_update_timestamp()' END;
BEGIN
    -- Names of keys and indexes are those that the host's migrations give.
    RETURN QUERY
    WITH part (place, kind, table_name, part_columns, referenced, name, command) AS (VALUES
        (10, 'table', 'gateway_pools', NULL::name[], NULL::regclass, 'gateway_pools',
            'CREATE TABLE @extschema@.gateway_pools ('
            'id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT gateway_pools_pkey PRIMARY KEY, '
            '"orgId" uuid NOT NULL, '
            'name varchar(32) NOT NULL, '
            '"createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, '
            '"updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP)'),
        (11, 'table', 'gateway_pool_memberships', NULL, NULL, 'gateway_pool_memberships',
            'CREATE TABLE @extschema@.gateway_pool_memberships ('
            'id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT gateway_pool_memberships_pkey PRIMARY KEY, '
            '"gatewayPoolId" uuid NOT NULL, '
            '"gatewayId" uuid NOT NULL, '
            '"createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, '
            '"updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP)'),
        (12, 'table', 'gateway_pool_entitlements', NULL, NULL, 'gateway_pool_entitlements',
            'CREATE TABLE @extschema@.gateway_pool_entitlements ('
            '"orgId" uuid NOT NULL CONSTRAINT gateway_pool_entitlements_pkey PRIMARY KEY, '
            '"gatewayPool" boolean NOT NULL, '
            '"maxPools" int CONSTRAINT "gateway_pool_entitlements_maxPools_check" CHECK ("maxPools" >= -1), '
            '"maxGatewaysPerPool" int '
            'CONSTRAINT "gateway_pool_entitlements_maxGatewaysPerPool_check" CHECK ("maxGatewaysPerPool" >= -1), '
            '"expiresAt" timestamptz, '
            '"createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, '
            '"updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP)'),
        (13, 'table', 'gateway_states', NULL, NULL, 'gateway_states',
            'CREATE TABLE @extschema@.gateway_states ('
            '"gatewayId" uuid NOT NULL CONSTRAINT gateway_states_pkey PRIMARY KEY, '
            'state text NOT NULL CONSTRAINT gateway_states_state_check '
            'CHECK (state IN (''active'', ''draining'', ''maintenance'')), '
            'reason text, '
            '"changedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP)'),
        (14, 'table', 'gateway_probes', NULL, NULL, 'gateway_probes',
            'CREATE TABLE @extschema@.gateway_probes ('
            '"gatewayId" uuid NOT NULL CONSTRAINT gateway_probes_pkey PRIMARY KEY, '
            'protocol text NOT NULL CONSTRAINT gateway_probes_protocol_check '
            'CHECK (protocol IN (''tcp'', ''tls'', ''http'', ''https'')), '
            'address text NOT NULL, '
            'path text CONSTRAINT gateway_probes_path_check CHECK (path ~ ''^/[!-~]*$'' AND length(path) <= 1024), '
            '"expectedStatus" text CONSTRAINT "gateway_probes_expectedStatus_check" '
            'CHECK ("expectedStatus" ~ ''^[1-5][0-9]{2}(-[1-5][0-9]{2})?$''), '
            '"serverName" text CONSTRAINT "gateway_probes_serverName_check" '
            'CHECK ("serverName" ~ ''^[A-Za-z0-9_.:-]{1,253}$''), '
            '"verifyTls" boolean NOT NULL DEFAULT true, '
            '"caCertificate" text, '
            '"intervalMs" int CONSTRAINT "gateway_probes_intervalMs_check" '
            'CHECK ("intervalMs" BETWEEN 100 AND 86400000), '
            '"timeoutMs" int CONSTRAINT "gateway_probes_timeoutMs_check" '
            'CHECK ("timeoutMs" BETWEEN 10 AND 86400000), '
            'rise int CONSTRAINT gateway_probes_rise_check CHECK (rise BETWEEN 1 AND 100), '
            'fall int CONSTRAINT gateway_probes_fall_check CHECK (fall BETWEEN 1 AND 100), '
            'required boolean NOT NULL DEFAULT true, '
            '"createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, '
            '"updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP, '
            'CONSTRAINT gateway_probes_timeout_within_interval_check CHECK ("timeoutMs" <= "intervalMs"))'),

        (20, 'column', 'gateway_pool_memberships', '{weight}', NULL, 'weight',
            'ALTER TABLE @extschema@.gateway_pool_memberships ADD COLUMN weight int NOT NULL DEFAULT 1 '
            'CONSTRAINT gateway_pool_memberships_weight_check CHECK (weight BETWEEN 0 AND 1000); '
            'COMMENT ON COLUMN @extschema@.gateway_pool_memberships.weight IS '
            '''share of the picks beside the weights of the other candidates, 0 to 1000; 0 is picked only when nobody weighs more'''),
        (21, 'column', 'gateway_pool_memberships', '{priority}', NULL, 'priority',
            'ALTER TABLE @extschema@.gateway_pool_memberships ADD COLUMN priority smallint NOT NULL DEFAULT 0; '
            'COMMENT ON COLUMN @extschema@.gateway_pool_memberships.priority IS '
            '''picks are made from the candidates with the lowest number'''),
        (22, 'column', kubernetes_name, '{gatewayPoolId}', NULL, 'gatewayPoolId',
            format('ALTER TABLE %1$s ADD COLUMN "gatewayPoolId" uuid; '
                   'COMMENT ON COLUMN %1$s."gatewayPoolId" IS ''the pool through which the cluster is reached, '
                   'in place of one gateway''', kubernetes_auths)),

        (30, 'unique key', 'gateway_pools', '{orgId,name}', NULL, 'gateway_pools_orgid_name_unique',
            'ALTER TABLE @extschema@.gateway_pools '
            'ADD CONSTRAINT gateway_pools_orgid_name_unique UNIQUE ("orgId", name)'),
        (31, 'unique key', 'gateway_pool_memberships', '{gatewayPoolId,gatewayId}', NULL,
            'gateway_pool_memberships_gatewaypoolid_gatewayid_unique',
            'ALTER TABLE @extschema@.gateway_pool_memberships '
            'ADD CONSTRAINT gateway_pool_memberships_gatewaypoolid_gatewayid_unique UNIQUE ("gatewayPoolId", "gatewayId")'),
        (32, 'index', 'gateway_pool_memberships', '{gatewayId}', NULL, 'gateway_pool_memberships_gatewayid_index',
            'CREATE INDEX gateway_pool_memberships_gatewayid_index '
            'ON @extschema@.gateway_pool_memberships ("gatewayId")'),
        (33, 'index', kubernetes_name, '{gatewayPoolId}', NULL,
            kubernetes_prefix || '_gatewaypoolid_index',
            format('CREATE INDEX %I ON %s ("gatewayPoolId")',
                   kubernetes_prefix || '_gatewaypoolid_index', kubernetes_auths)),

        (40, 'foreign key', 'gateway_pools', '{orgId}', organizations, 'gateway_pools_orgid_foreign',
            format('ALTER TABLE @extschema@.gateway_pools ADD CONSTRAINT gateway_pools_orgid_foreign '
                   'FOREIGN KEY ("orgId") REFERENCES %s (id) ON DELETE CASCADE', organizations)),
        (41, 'foreign key', 'gateway_pool_memberships', '{gatewayPoolId}',
            to_regclass('@extschema@.gateway_pools'), 'gateway_pool_memberships_gatewaypoolid_foreign',
            'ALTER TABLE @extschema@.gateway_pool_memberships '
            'ADD CONSTRAINT gateway_pool_memberships_gatewaypoolid_foreign '
            'FOREIGN KEY ("gatewayPoolId") REFERENCES @extschema@.gateway_pools (id) ON DELETE CASCADE'),
        (42, 'foreign key', 'gateway_pool_memberships', '{gatewayId}', gateways,
            'gateway_pool_memberships_gatewayid_foreign',
            format('ALTER TABLE @extschema@.gateway_pool_memberships '
                   'ADD CONSTRAINT gateway_pool_memberships_gatewayid_foreign '
                   'FOREIGN KEY ("gatewayId") REFERENCES %s (id) ON DELETE CASCADE', gateways)),
        (43, 'foreign key', 'gateway_pool_entitlements', '{orgId}', organizations,
            'gateway_pool_entitlements_orgid_foreign',
            format('ALTER TABLE @extschema@.gateway_pool_entitlements '
                   'ADD CONSTRAINT gateway_pool_entitlements_orgid_foreign '
                   'FOREIGN KEY ("orgId") REFERENCES %s (id) ON DELETE CASCADE', organizations)),
        (44, 'foreign key', 'gateway_states', '{gatewayId}', gateways, 'gateway_states_gatewayid_foreign',
            format('ALTER TABLE @extschema@.gateway_states ADD CONSTRAINT gateway_states_gatewayid_foreign '
                   'FOREIGN KEY ("gatewayId") REFERENCES %s (id) ON DELETE CASCADE', gateways)),
        (45, 'foreign key', 'gateway_probes', '{gatewayId}', gateways, 'gateway_probes_gatewayid_foreign',
            format('ALTER TABLE @extschema@.gateway_probes ADD CONSTRAINT gateway_probes_gatewayid_foreign '
                   'FOREIGN KEY ("gatewayId") REFERENCES %s (id) ON DELETE CASCADE', gateways)),
        (46, 'foreign key', kubernetes_name, '{gatewayPoolId}', to_regclass('@extschema@.gateway_pools'),
            kubernetes_prefix || '_gatewaypoolid_foreign',
            format('ALTER TABLE %s ADD CONSTRAINT %I '
                   'FOREIGN KEY ("gatewayPoolId") REFERENCES @extschema@.gateway_pools (id) ON DELETE SET NULL',
                   kubernetes_auths, kubernetes_prefix || '_gatewaypoolid_foreign')),

        (50, 'trigger', 'gateway_pools', NULL, NULL, 'GatewayPools_enforce',
            'CREATE TRIGGER "GatewayPools_enforce" AFTER INSERT OR UPDATE ON @extschema@.gateway_pools '
            'FOR EACH ROW EXECUTE FUNCTION @extschema@.gateway_pools_enforce()'),
        (51, 'trigger', 'gateway_pools', NULL, NULL, 'GatewayPools_refuse_move',
            'CREATE TRIGGER "GatewayPools_refuse_move" BEFORE UPDATE ON @extschema@.gateway_pools '
            'FOR EACH ROW EXECUTE FUNCTION @extschema@.gateway_pools_refuse_move()'),
        (52, 'trigger', 'gateway_pools', NULL, NULL, 'GatewayPools_refuse_delete',
            'CREATE TRIGGER "GatewayPools_refuse_delete" BEFORE DELETE ON @extschema@.gateway_pools '
            'FOR EACH ROW EXECUTE FUNCTION @extschema@.gateway_pools_refuse_delete()'),
        (53, 'trigger', 'gateway_pools', NULL, NULL, 'GatewayPools_refuse_truncate',
            'CREATE TRIGGER "GatewayPools_refuse_truncate" BEFORE TRUNCATE ON @extschema@.gateway_pools '
            'FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.gateway_pools_refuse_delete()'),
        (54, 'trigger', 'gateway_pool_memberships', NULL, NULL, 'GatewayPools_enforce',
            'CREATE TRIGGER "GatewayPools_enforce" AFTER INSERT OR UPDATE ON @extschema@.gateway_pool_memberships '
            'FOR EACH ROW EXECUTE FUNCTION @extschema@.gateway_pool_memberships_enforce()'),
        (55, 'trigger', 'gateway_probes', NULL, NULL, 'GatewayPools_enforce',
            'CREATE TRIGGER "GatewayPools_enforce" BEFORE INSERT OR UPDATE ON @extschema@.gateway_probes '
            'FOR EACH ROW EXECUTE FUNCTION @extschema@.gateway_probes_enforce()'),
        (56, 'trigger', gateways_name, NULL, NULL, 'GatewayPools_refuse_move',
            format('CREATE TRIGGER "GatewayPools_refuse_move" BEFORE UPDATE ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION @extschema@.gateway_pools_refuse_move()', gateways)),
        (57, 'trigger', kubernetes_name, NULL, NULL, 'GatewayPools_route',
            format('CREATE TRIGGER "GatewayPools_route" BEFORE INSERT OR UPDATE ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION @extschema@.pool_consumer_route(%s)',
                   kubernetes_auths, consumer_arguments)),
        (58, 'trigger', kubernetes_name, NULL, NULL, 'GatewayPools_enforce',
            format('CREATE TRIGGER "GatewayPools_enforce" AFTER INSERT OR UPDATE ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION @extschema@.pool_consumer_enforce(%s)',
                   kubernetes_auths, consumer_arguments)),
        (59, 'trigger', 'gateway_states', NULL, NULL, 'gateway_states_changedAt',
            'CREATE TRIGGER "gateway_states_changedAt" BEFORE UPDATE ON @extschema@.gateway_states '
            'FOR EACH ROW EXECUTE FUNCTION @extschema@.gateway_pool_set_timestamp(''changedAt'')'),
        (60, 'trigger', 'gateway_pools', NULL, NULL, 'gateway_pools_updatedAt',
            'CREATE TRIGGER "gateway_pools_updatedAt" BEFORE UPDATE ON @extschema@.gateway_pools '
            'FOR EACH ROW EXECUTE FUNCTION ' || touch),
        (61, 'trigger', 'gateway_pool_memberships', NULL, NULL, 'gateway_pool_memberships_updatedAt',
            'CREATE TRIGGER "gateway_pool_memberships_updatedAt" BEFORE UPDATE ON @extschema@.gateway_pool_memberships '
            'FOR EACH ROW EXECUTE FUNCTION ' || touch),
        (62, 'trigger', 'gateway_pool_entitlements', NULL, NULL, 'gateway_pool_entitlements_updatedAt',
            'CREATE TRIGGER "gateway_pool_entitlements_updatedAt" BEFORE UPDATE ON @extschema@.gateway_pool_entitlements '
            'FOR EACH ROW EXECUTE FUNCTION ' || touch),
        (63, 'trigger', 'gateway_probes', NULL, NULL, 'gateway_probes_updatedAt',
            'CREATE TRIGGER "gateway_probes_updatedAt" BEFORE UPDATE ON @extschema@.gateway_probes '
            'FOR EACH ROW EXECUTE FUNCTION ' || touch)
    )
    SELECT p.kind, format('%I.%I', n.nspname, p.table_name), p.name,
           CASE p.kind
           WHEN 'table' THEN c.oid IS NOT NULL
           WHEN 'column' THEN cardinality(k.keys) = 1
           WHEN 'unique key' THEN EXISTS (
               SELECT FROM pg_index i
                WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL
                  AND i.indnkeyatts = cardinality(p.part_columns)
                  AND (i.indkey::int2[])[0:i.indnkeyatts - 1] @> k.keys)
           WHEN 'index' THEN EXISTS (
               SELECT FROM pg_index i WHERE i.indrelid = c.oid AND ARRAY[i.indkey[0]] = k.keys)
           WHEN 'foreign key' THEN EXISTS (
               SELECT FROM pg_constraint f
                WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid = p.referenced AND f.conkey = k.keys)
           WHEN 'trigger' THEN EXISTS (
               SELECT FROM pg_trigger t
                WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
                  AND (t.tgname = p.name
                       OR p.name = c.relname || '_updatedAt'
                          AND t.tgfoid = to_regprocedure('@extschema@.on_update_timestamp()')))
           END,
           p.command
      FROM part p
      JOIN pg_namespace n ON n.oid = extension_schema
      LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.table_name AND c.relkind = 'r'
      CROSS JOIN LATERAL (
           SELECT coalesce(array_agg(a.attnum ORDER BY array_position(p.part_columns, a.attname)), '{}') AS keys
             FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname = ANY (p.part_columns) AND NOT a.attisdropped) k
     WHERE p.table_name IS NOT NULL
     ORDER BY p.place;
END
$$;
COMMENT ON FUNCTION gateway_pool_parts(regclass, regclass, regclass) IS
    'used by install_gateway_pools() and check_gateway_pools(): every table, column, key, index and trigger '
    'that gateway pools consist of, whether it is there, and the command that makes it';

CREATE FUNCTION gateway_pool_comments()
    RETURNS TABLE (relation text, attribute name, comment text)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    VALUES
    ('gateway_pools', NULL::name,
        'a named set of gateways of one organization that reach the same network'),
    ('gateway_pools', 'name', 'unique in the organization: 1 to 32 of a-z and 0-9, single inner hyphens'),
    ('gateway_pool_memberships', NULL, 'a gateway''s membership in a pool'),
    ('gateway_pool_entitlements', NULL, 'what an organization''s plan allows; without a row, the settings say'),
    ('gateway_pool_entitlements', 'gatewayPool', 'whether the plan has gateway pools'),
    ('gateway_pool_entitlements', 'maxPools', 'pools that the organization may have; NULL is the setting''s, -1 no limit'),
    ('gateway_pool_entitlements', 'maxGatewaysPerPool', 'members that a pool may have; NULL is the setting''s, -1 no limit'),
    ('gateway_pool_entitlements', 'expiresAt', 'when the plan ends; NULL is never'),
    ('gateway_states', NULL, 'what an administrator wants of a gateway; without a row, it is active'),
    ('gateway_states', 'state', 'active, draining or maintenance; only an active gateway is picked'),
    ('gateway_states', 'reason', 'for other administrators to read'),
    ('gateway_probes', NULL, 'how to connect to a gateway to see whether it is up; NULL is the setting''s'),
    ('gateway_probes', 'protocol', 'tcp, tls, http or https'),
    ('gateway_probes', 'address', 'host:port, 192.0.2.1:port or [2001:db8::1]:port'),
    ('gateway_probes', 'path', 'what http and https ask for'),
    ('gateway_probes', 'expectedStatus', 'the status that http and https expect, such as 200, or a range, such as 200-399'),
    ('gateway_probes', 'serverName', 'the name that tls and https ask for and verify; NULL is the host''s'),
    ('gateway_probes', 'verifyTls', 'whether tls and https verify the certificate''s chain and name'),
    ('gateway_probes', 'caCertificate', 'PEM of the authority to trust; NULL is the system''s'),
    ('gateway_probes', 'intervalMs', 'milliseconds from one probe''s start to the next''s'),
    ('gateway_probes', 'timeoutMs', 'milliseconds that a whole probe may take, at most the interval'),
    ('gateway_probes', 'rise', 'successes in a row that lead up'),
    ('gateway_probes', 'fall', 'failures in a row that lead down'),
    ('gateway_probes', 'required', 'whether a probe that is down overrules a fresh heartbeat')
$$;
COMMENT ON FUNCTION gateway_pool_comments() IS
    'used by install_gateway_pools(): the comments of the tables and columns that it makes';

CREATE FUNCTION install_gateway_pools(
    organizations regclass DEFAULT NULL,
    gateways regclass DEFAULT NULL,
    kubernetes_auths regclass DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    organizations regclass;
    gateways regclass;
    kubernetes_auths regclass;
    old_lock_timeout CONSTANT text := current_setting('lock_timeout');
    owner oid;
    part record;
    made_tables text[] := '{}';
    remark record;
    problem text;
BEGIN
    SELECT coalesce($1, h.organizations), coalesce($2, h.gateways), coalesce($3, h.kubernetes_auths)
      INTO organizations, gateways, kubernetes_auths
      FROM @extschema@.gateway_pool_host_tables() h;

    SELECT string_agg(t.name, ', ') INTO problem
      FROM (VALUES (organizations, 'organizations'), (gateways, 'gateways_v2'),
                   (kubernetes_auths, 'identity_kubernetes_auths')) t (relation, name)
     WHERE t.relation IS NULL;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'host tables are missing in schema @extschema@: ' || problem,
                  HINT = 'Give install_gateway_pools() the tables that take their place.';
    END IF;

    SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) INTO problem
      FROM pg_class c
     WHERE c.oid IN (organizations, gateways, kubernetes_auths)
       AND c.relnamespace <> '@extschema@'::regnamespace;
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'host tables are in another schema than the extension: ' || problem,
                  HINT = format('DROP EXTENSION gateway_pool, then CREATE EXTENSION gateway_pool SCHEMA %s.',
                                (SELECT c.relnamespace::regnamespace FROM pg_class c WHERE c.oid = gateways));
    END IF;

    -- Everything below is DDL, which evaluates nothing that an owner defined:
    -- plain tables only, whose columns have the server's own types.
    SELECT string_agg(format('%s %s', w.relation, w.attribute), ', ') INTO problem
      FROM (VALUES
            (organizations, 'id', '{uuid}'::regtype[]),
            (gateways, 'id', '{uuid}'),
            (gateways, 'orgId', '{uuid}'),
            (gateways, 'name', '{varchar,text}'),
            (kubernetes_auths, 'id', '{uuid}'),
            (to_regclass('@extschema@.gateway_pools'), 'id', '{uuid}'),
            (to_regclass('@extschema@.gateway_pools'), 'orgId', '{uuid}'),
            (to_regclass('@extschema@.gateway_pools'), 'name', '{varchar,text}'),
            (to_regclass('@extschema@.gateway_pools'), 'createdAt', '{timestamptz}'),
            (to_regclass('@extschema@.gateway_pools'), 'updatedAt', '{timestamptz}'),
            (to_regclass('@extschema@.gateway_pool_memberships'), 'id', '{uuid}'),
            (to_regclass('@extschema@.gateway_pool_memberships'), 'gatewayPoolId', '{uuid}'),
            (to_regclass('@extschema@.gateway_pool_memberships'), 'gatewayId', '{uuid}'),
            (to_regclass('@extschema@.gateway_pool_memberships'), 'createdAt', '{timestamptz}'),
            (to_regclass('@extschema@.gateway_pool_memberships'), 'updatedAt', '{timestamptz}')
           ) w (relation, attribute, types)
     WHERE w.relation IS NOT NULL
       AND NOT EXISTS (
           SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
            WHERE a.attrelid = w.relation AND c.relkind = 'r' AND a.attname = w.attribute
              AND NOT a.attisdropped AND a.atttypid = ANY (w.types::oid[]));
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'tables are not of the shape that gateway pools need: ' || problem,
                  DETAIL = 'These columns are missing, of another type, or not of a plain table.';
    END IF;

    SELECT c.relowner INTO owner FROM pg_class c WHERE c.oid = gateways;
    SELECT string_agg(c.relname, ', ' ORDER BY c.relname) INTO problem
      FROM pg_class c
     WHERE c.relnamespace = '@extschema@'::regnamespace
       AND c.relname IN ('gateway_pools', 'gateway_pool_memberships', 'gateway_pool_entitlements',
                         'gateway_states', 'gateway_probes')
       AND (c.relowner <> owner OR c.relkind <> 'r');
    IF problem IS NOT NULL THEN
        RAISE object_not_in_prerequisite_state
            USING MESSAGE = 'existing tables have another owner than the gateways table, or are no tables: ' || problem,
                  HINT = 'Give them the owner of the gateways table, or drop or rename them.';
    END IF;
    IF NOT pg_has_role(owner, 'USAGE') THEN
        RAISE insufficient_privilege
            USING MESSAGE = format('must be owner of table %s', gateways);
    END IF;

    -- A host that is busy is not made to wait for long behind this.
    IF (SELECT s.setting::int NOT BETWEEN 1 AND 5000 FROM pg_settings s WHERE s.name = 'lock_timeout') THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', gateways);

    FOR part IN
        SELECT * FROM @extschema@.gateway_pool_parts(organizations, gateways, kubernetes_auths) p WHERE NOT p.present
    LOOP
        EXECUTE part.command;
        CONTINUE WHEN part.kind <> 'table';

        made_tables := made_tables || part.name;
        EXECUTE format('ALTER TABLE %s OWNER TO %s', part.relation, owner::regrole);
        IF @extschema@.is_extension_script() THEN
            EXECUTE format('ALTER EXTENSION gateway_pool DROP TABLE %s', part.relation);
        END IF;
    END LOOP;

    FOR remark IN SELECT * FROM @extschema@.gateway_pool_comments() c WHERE c.relation = ANY (made_tables) LOOP
        EXECUTE format('COMMENT ON %s @extschema@.%I%s IS %L',
                       CASE WHEN remark.attribute IS NULL THEN 'TABLE' ELSE 'COLUMN' END,
                       remark.relation, coalesce('.' || quote_ident(remark.attribute), ''), remark.comment);
    END LOOP;

    -- Adopting pools that are in use stops nothing.
    IF 'gateway_pool_entitlements' = ANY (made_tables) THEN
        INSERT INTO @extschema@.gateway_pool_entitlements ("orgId", "gatewayPool")
        SELECT DISTINCT p."orgId", true FROM @extschema@.gateway_pools p;
    END IF;

    -- Inside a script, a GRANT would make pg_dump forget the table's others.
    -- Entitlements are the administrator's to give.
    IF NOT @extschema@.is_extension_script() THEN
        FOR part IN
            SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, t.oid::regclass,
                          CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                          CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS command
              FROM pg_class g
             CROSS JOIN aclexplode(g.relacl) a
             CROSS JOIN pg_class t
             WHERE g.oid = gateways AND a.grantee <> owner AND t.relacl IS NULL
               AND t.relnamespace = '@extschema@'::regnamespace
               AND t.relname IN ('gateway_pools', 'gateway_pool_memberships', 'gateway_states', 'gateway_probes')
        LOOP
            EXECUTE part.command;
        END LOOP;
    END IF;

    PERFORM set_config('lock_timeout', old_lock_timeout, true);
END
$$;
COMMENT ON FUNCTION install_gateway_pools(regclass, regclass, regclass) IS
    'makes the tables, keys and triggers of gateway pools in the host''s schema, adopting what is there; idempotent';

CREATE FUNCTION uninstall_gateway_pools(keep_data boolean DEFAULT true) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
BEGIN
    IF keep_data IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'keep_data must not be null';
    END IF;

    FOR target IN
        SELECT t.tgname, t.tgrelid::regclass AS relation
          FROM pg_trigger t
          JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = t.tgfoid AND d.deptype = 'e'
          JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
         WHERE e.extname = 'gateway_pool' AND NOT t.tgisinternal AND t.tgparentid = 0
         ORDER BY t.tgrelid, t.tgname
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', target.tgname, target.relation);
    END LOOP;

    IF keep_data THEN
        RETURN;
    END IF;

    FOR target IN
        SELECT k.conrelid::regclass AS relation, a.attname
          FROM pg_constraint k
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
         WHERE k.contype = 'f' AND k.conparentid = 0
           AND k.confrelid = to_regclass('@extschema@.gateway_pools')
           AND k.conrelid <> to_regclass('@extschema@.gateway_pool_memberships')
           AND k.conrelid = to_regclass('@extschema@.identity_kubernetes_auths')
    LOOP
        EXECUTE format('ALTER TABLE %s DROP COLUMN %I', target.relation, target.attname);
    END LOOP;

    -- Without CASCADE: a table that still references pools is the host's to clear.
    DROP TABLE IF EXISTS
        @extschema@.gateway_probes,
        @extschema@.gateway_states,
        @extschema@.gateway_pool_entitlements,
        @extschema@.gateway_pool_memberships,
        @extschema@.gateway_pools;
END
$$;
COMMENT ON FUNCTION uninstall_gateway_pools(boolean) IS
    'drops the triggers, so that DROP EXTENSION needs no CASCADE; with keep_data false the tables and '
    'identity_kubernetes_auths."gatewayPoolId" too';
