-- The tables of a host application, as its own migrations make them, for tests and the demo.
--
-- Loading this file defines functions in schema host_test and nothing else; loading it again is harmless.
--
--     SELECT host_test.make_host('app', stage => 0);
--     SELECT host_test.add_org('app', 'acme', id => '...');
--     SELECT host_test.migrate_pools('app');
--
-- Names of constraints and indexes, the order of columns and the order of statements are those of the
-- application's migration tool (keys and unique constraints follow the table one by one, names are
-- lower-cased <table>_<columns>_<kind>). The order matters: a DELETE works off the foreign keys that lead to
-- a table in the order in which they were made.

DO $block$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'host_test') THEN
        CREATE SCHEMA host_test;
    END IF;
END
$block$;

-- The application's role calls helpers, too, while a migration runs as that role.
GRANT USAGE ON SCHEMA host_test TO PUBLIC;

-----------------------------------------------------------------------------------------------------------
-- Functions that the migration tool offers to migrations
-----------------------------------------------------------------------------------------------------------

-- Returns true if a table exists in information_schema, which shows only tables that the current role may see.
CREATE OR REPLACE FUNCTION host_test.has_table(target name, table_name name) RETURNS boolean
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $function$
BEGIN
    -- Its plan is kept: to plan it takes longer than all else that a migration does.
    RETURN EXISTS (SELECT FROM information_schema.tables AS t
                   WHERE t.table_schema = $1 AND t.table_name = $2);
END
$function$;

-- Returns true if a column exists, in the same way.
CREATE OR REPLACE FUNCTION host_test.has_column(target name, table_name name, column_name name)
RETURNS boolean
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM information_schema.columns AS c
                   WHERE c.table_schema = $1 AND c.table_name = $2 AND c.column_name = $3);
END
$function$;

-- Creates the trigger that sets "updatedAt".
CREATE OR REPLACE FUNCTION host_test.create_on_update_trigger(target name, table_name name) RETURNS void
LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON %I.%I FOR EACH ROW EXECUTE PROCEDURE %I.%I()',
                   table_name || '_updatedAt', target, table_name, target, 'on_update_timestamp');
END
$function$;

-- Switches to another role until the transaction ends or end_role() is called with the result.
CREATE OR REPLACE FUNCTION host_test.begin_role(role name) RETURNS text
LANGUAGE plpgsql AS $function$
DECLARE
    before text := current_setting('role');
BEGIN
    IF role IS DISTINCT FROM current_user THEN
        PERFORM set_config('role', role::text, true);
    END IF;
    RETURN before;
END
$function$;

-- Switches back to the role before begin_role().
CREATE OR REPLACE FUNCTION host_test.end_role(before text) RETURNS void
LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM set_config('role', before, true);
END
$function$;

-- The role that owns the host's tables; migrations run as that role, as the application's do.
CREATE OR REPLACE FUNCTION host_test.host_owner(target name) RETURNS name
LANGUAGE sql STABLE AS $function$
    SELECT pg_get_userbyid(c.relowner) FROM pg_class AS c
    WHERE c.oid = format('%I.gateways_v2', $1)::regclass
$function$;

-- Returns a uuid derived from its arguments, for rows that are added along with another row.
CREATE OR REPLACE FUNCTION host_test.derived_id(kind text, id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $function$
    SELECT left(encode(sha256(convert_to($1 || ' ' || $2::text, 'UTF8')), 'hex'), 32)::uuid
$function$;

-----------------------------------------------------------------------------------------------------------
-- Migrations
-----------------------------------------------------------------------------------------------------------

-- Heartbeats get a time-to-live: add "heartbeatTTL", fill it in, drop "lastHealthCheckStatus". The UPDATE
-- and the ALTER TABLE share a transaction, hence a deferred trigger on the table would make this fail.
CREATE OR REPLACE FUNCTION host_test.migrate_heartbeat_ttl(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    IF NOT host_test.has_column(target, 'gateways_v2', 'heartbeatTTL') THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 ADD COLUMN "heartbeatTTL" integer NULL', target);
    END IF;

    IF host_test.has_column(target, 'gateways_v2', 'lastHealthCheckStatus') THEN
        EXECUTE format($sql$
            UPDATE %I.gateways_v2
            SET "heartbeatTTL" = CASE WHEN "lastHealthCheckStatus" = 'failed' THEN 0 ELSE 1800 END
            WHERE heartbeat IS NOT NULL AND "heartbeatTTL" IS NULL
        $sql$, target);
        EXECUTE format('ALTER TABLE %I.gateways_v2 DROP COLUMN "lastHealthCheckStatus"', target);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- The down migration: no time-to-live, an empty "lastHealthCheckStatus".
CREATE OR REPLACE FUNCTION host_test.unmigrate_heartbeat_ttl(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    IF host_test.has_column(target, 'gateways_v2', 'heartbeatTTL') THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 DROP COLUMN "heartbeatTTL"', target);
    END IF;
    IF NOT host_test.has_column(target, 'gateways_v2', 'lastHealthCheckStatus') THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 ADD COLUMN "lastHealthCheckStatus" varchar(255) NULL',
                       target);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- Gateways report their capabilities, for example {"pkcs11": true}.
CREATE OR REPLACE FUNCTION host_test.migrate_capabilities(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    IF NOT host_test.has_column(target, 'gateways_v2', 'capabilities') THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 ADD COLUMN capabilities jsonb', target);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_indexes
                   WHERE schemaname = target AND indexname = 'gateways_v2_capabilities_gin_idx') THEN
        EXECUTE format(
            'CREATE INDEX gateways_v2_capabilities_gin_idx ON %I.gateways_v2 USING gin (capabilities)',
            target);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- The down migration: no capabilities.
CREATE OR REPLACE FUNCTION host_test.unmigrate_capabilities(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    IF EXISTS (SELECT FROM pg_indexes
               WHERE schemaname = target AND indexname = 'gateways_v2_capabilities_gin_idx') THEN
        EXECUTE format('DROP INDEX %I.gateways_v2_capabilities_gin_idx', target);
    END IF;
    IF host_test.has_column(target, 'gateways_v2', 'capabilities') THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 DROP COLUMN capabilities', target);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- Gateways can be reached without a relay. One statement adds both columns.
CREATE OR REPLACE FUNCTION host_test.migrate_direct_address(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
    changes text := '';
BEGIN
    IF NOT host_test.has_column(target, 'gateways_v2', 'directAddress') THEN
        changes := changes || ', ADD COLUMN "directAddress" text NULL';
    END IF;
    IF NOT host_test.has_column(target, 'gateways_v2', 'directHeartbeat') THEN
        changes := changes || ', ADD COLUMN "directHeartbeat" timestamptz NULL';
    END IF;
    IF changes <> '' THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 %s', target, substr(changes, 3));
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- The down migration: no direct addresses, one statement per column.
CREATE OR REPLACE FUNCTION host_test.unmigrate_direct_address(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
    has_address boolean := host_test.has_column(target, 'gateways_v2', 'directAddress');
    has_heartbeat boolean := host_test.has_column(target, 'gateways_v2', 'directHeartbeat');
BEGIN
    IF has_address THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 DROP COLUMN "directAddress"', target);
    END IF;
    IF has_heartbeat THEN
        EXECUTE format('ALTER TABLE %I.gateways_v2 DROP COLUMN "directHeartbeat"', target);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- The host's own gateway pools. Creates only what is missing, so it does nothing if the extension is installed.
CREATE OR REPLACE FUNCTION host_test.migrate_pools(
    target name DEFAULT 'app', name_width int DEFAULT 32, on_delete text DEFAULT 'SET NULL')
RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    IF on_delete IS NULL OR on_delete NOT IN ('SET NULL', 'RESTRICT', 'NO ACTION', 'CASCADE') THEN
        RAISE EXCEPTION 'unknown action: %', on_delete USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF NOT host_test.has_table(target, 'gateway_pools') THEN
        EXECUTE format($sql$
            CREATE TABLE %1$I.gateway_pools (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                "orgId" uuid NOT NULL,
                name varchar(%2$s) NOT NULL,
                "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
                "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
            ALTER TABLE %1$I.gateway_pools ADD CONSTRAINT gateway_pools_orgid_foreign
                FOREIGN KEY ("orgId") REFERENCES %1$I.organizations (id) ON DELETE CASCADE;
            ALTER TABLE %1$I.gateway_pools ADD CONSTRAINT gateway_pools_orgid_name_unique
                UNIQUE ("orgId", name);
        $sql$, target, name_width);
        PERFORM host_test.create_on_update_trigger(target, 'gateway_pools');
    END IF;

    IF NOT host_test.has_table(target, 'gateway_pool_memberships') THEN
        EXECUTE format($sql$
            CREATE TABLE %1$I.gateway_pool_memberships (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                "gatewayPoolId" uuid NOT NULL,
                "gatewayId" uuid NOT NULL,
                "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
                "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
            ALTER TABLE %1$I.gateway_pool_memberships
                ADD CONSTRAINT gateway_pool_memberships_gatewaypoolid_foreign
                FOREIGN KEY ("gatewayPoolId") REFERENCES %1$I.gateway_pools (id) ON DELETE CASCADE;
            ALTER TABLE %1$I.gateway_pool_memberships
                ADD CONSTRAINT gateway_pool_memberships_gatewayid_foreign
                FOREIGN KEY ("gatewayId") REFERENCES %1$I.gateways_v2 (id) ON DELETE CASCADE;
            ALTER TABLE %1$I.gateway_pool_memberships
                ADD CONSTRAINT gateway_pool_memberships_gatewaypoolid_gatewayid_unique
                UNIQUE ("gatewayPoolId", "gatewayId");
        $sql$, target);
        PERFORM host_test.create_on_update_trigger(target, 'gateway_pool_memberships');
    END IF;

    IF NOT host_test.has_column(target, 'identity_kubernetes_auths', 'gatewayPoolId') THEN
        EXECUTE format($sql$
            ALTER TABLE %1$I.identity_kubernetes_auths ADD COLUMN "gatewayPoolId" uuid NULL;
            ALTER TABLE %1$I.identity_kubernetes_auths
                ADD CONSTRAINT identity_kubernetes_auths_gatewaypoolid_foreign
                FOREIGN KEY ("gatewayPoolId") REFERENCES %1$I.gateway_pools (id) ON DELETE %2$s;
        $sql$, target, on_delete);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- The down migration: column, then triggers and tables, memberships first. No CASCADE.
CREATE OR REPLACE FUNCTION host_test.unmigrate_pools(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    IF host_test.has_column(target, 'identity_kubernetes_auths', 'gatewayPoolId') THEN
        EXECUTE format('ALTER TABLE %I.identity_kubernetes_auths DROP COLUMN "gatewayPoolId"', target);
    END IF;
    EXECUTE format($sql$
        DROP TRIGGER IF EXISTS "gateway_pool_memberships_updatedAt" ON %1$I.gateway_pool_memberships;
        DROP TABLE IF EXISTS %1$I.gateway_pool_memberships;
        DROP TRIGGER IF EXISTS "gateway_pools_updatedAt" ON %1$I.gateway_pools;
        DROP TABLE IF EXISTS %1$I.gateway_pools;
    $sql$, target);
    PERFORM host_test.end_role(before);
END
$function$;

-- Changes the width of a pool's name, in the four statements with which the tool alters a column.
CREATE OR REPLACE FUNCTION host_test.widen_pool_name(target name, width int) RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    IF host_test.has_column(target, 'gateway_pools', 'name') THEN
        EXECUTE format($sql$
            ALTER TABLE %1$I.gateway_pools ALTER COLUMN name DROP DEFAULT;
            ALTER TABLE %1$I.gateway_pools ALTER COLUMN name DROP NOT NULL;
            ALTER TABLE %1$I.gateway_pools ALTER COLUMN name TYPE varchar(%2$s) USING (name::varchar(%2$s));
            ALTER TABLE %1$I.gateway_pools ALTER COLUMN name SET NOT NULL;
        $sql$, target, width);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-----------------------------------------------------------------------------------------------------------
-- The host
-----------------------------------------------------------------------------------------------------------

-- Creates the host's tables in a schema, and the schema if it does not exist.
--
-- The stage is the version of gateways_v2: -1 has no heartbeats at all, 0 has heartbeat and
-- "lastHealthCheckStatus", 1 has heartbeat and "heartbeatTTL", 2 has capabilities, "directAddress" and
-- "directHeartbeat" as well. Migrations lead to 1 and 2, so the table has a dropped column, as real
-- ones have. If an owner is given, it owns everything in the schema, but not the schema.
-- Left out: columns that reference tables which do not exist here (keys of projects, templates, root CAs).
CREATE OR REPLACE FUNCTION host_test.make_host(
    target name DEFAULT 'app', stage int DEFAULT 2, owner name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text;
    created name;
BEGIN
    IF stage IS NULL OR stage NOT BETWEEN -1 AND 2 THEN
        RAISE EXCEPTION 'stage must be between -1 and 2' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = target) THEN
        EXECUTE format('CREATE SCHEMA %I', target);
    END IF;
    IF owner IS NOT NULL AND NOT (has_schema_privilege(owner, target::text, 'USAGE')
                                  AND has_schema_privilege(owner, target::text, 'CREATE')) THEN
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', target, owner);
    END IF;
    before := host_test.begin_role(COALESCE(owner, current_user));

    EXECUTE format($sql$
        CREATE OR REPLACE FUNCTION %I.on_update_timestamp() RETURNS trigger AS $body$
        BEGIN
            NEW."updatedAt" = NOW();
            RETURN NEW;
        END;
        $body$ LANGUAGE plpgsql
    $sql$, target);

    EXECUTE format($sql$
        CREATE TABLE %1$I.organizations (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            "customerId" varchar(255),
            slug varchar(255) NOT NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "shouldUseNewPrivilegeSystem" boolean NOT NULL DEFAULT true);

        CREATE TABLE %1$I.identities (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            "authMethod" varchar(255),
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
    $sql$, target);

    -- The retired first version of gateways.
    EXECUTE format($sql$
        CREATE TABLE %1$I.gateways (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            "serialNumber" varchar(255) NOT NULL,
            "keyAlgorithm" varchar(255) NOT NULL,
            "issuedAt" timestamptz NOT NULL,
            expiration timestamptz NOT NULL,
            heartbeat timestamptz,
            "relayAddress" bytea NOT NULL,
            "identityId" uuid NOT NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
        ALTER TABLE %1$I.gateways ADD CONSTRAINT gateways_identityid_foreign
            FOREIGN KEY ("identityId") REFERENCES %1$I.identities (id) ON DELETE CASCADE;
    $sql$, target);

    EXECUTE format($sql$
        CREATE TABLE %1$I.identity_kubernetes_auths (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            "accessTokenTTL" bigint NOT NULL DEFAULT 7200,
            "accessTokenMaxTTL" bigint NOT NULL DEFAULT 7200,
            "accessTokenNumUsesLimit" bigint NOT NULL DEFAULT 0,
            "accessTokenTrustedIps" jsonb NOT NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "identityId" uuid NOT NULL,
            "kubernetesHost" varchar(255),
            "encryptedCaCert" text,
            "caCertIV" varchar(255),
            "caCertTag" varchar(255),
            "encryptedTokenReviewerJwt" text,
            "tokenReviewerJwtIV" varchar(255),
            "tokenReviewerJwtTag" varchar(255),
            "allowedNamespaces" varchar(1000) NOT NULL,
            "allowedNames" varchar(1000) NOT NULL,
            "allowedAudience" varchar(1000) NOT NULL,
            "encryptedKubernetesTokenReviewerJwt" bytea,
            "encryptedKubernetesCaCertificate" bytea,
            "gatewayId" uuid,
            "tokenReviewMode" varchar(255) NOT NULL DEFAULT 'api',
            "accessTokenPeriod" bigint NOT NULL DEFAULT 0);
        ALTER TABLE %1$I.identity_kubernetes_auths
            ADD CONSTRAINT identity_kubernetes_auths_identityid_unique UNIQUE ("identityId");
        ALTER TABLE %1$I.identity_kubernetes_auths
            ADD CONSTRAINT identity_kubernetes_auths_identityid_foreign
            FOREIGN KEY ("identityId") REFERENCES %1$I.identities (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.identity_kubernetes_auths
            ADD CONSTRAINT identity_kubernetes_auths_gatewayid_foreign
            FOREIGN KEY ("gatewayId") REFERENCES %1$I.gateways (id) ON DELETE SET NULL;
    $sql$, target);

    EXECUTE format($sql$
        CREATE TABLE %1$I.relays (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "orgId" uuid,
            "identityId" uuid,
            name varchar(255) NOT NULL,
            host varchar(255) NOT NULL,
            heartbeat timestamptz,
            "healthAlertedAt" timestamptz);
        ALTER TABLE %1$I.relays ADD CONSTRAINT relays_orgid_foreign
            FOREIGN KEY ("orgId") REFERENCES %1$I.organizations (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.relays ADD CONSTRAINT relays_identityid_foreign
            FOREIGN KEY ("identityId") REFERENCES %1$I.identities (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.relays ADD CONSTRAINT relays_orgid_name_unique UNIQUE ("orgId", name);
    $sql$, target);

    EXECUTE format($sql$
        CREATE TABLE %1$I.gateways_v2 (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "orgId" uuid NOT NULL,
            "identityId" uuid,
            "relayId" uuid,
            name varchar(255) NOT NULL%2$s,
            "encryptedPamSessionKey" bytea%3$s,
            "tokenVersion" integer NOT NULL DEFAULT 0%4$s);
        ALTER TABLE %1$I.gateways_v2 ADD CONSTRAINT gateways_v2_orgid_foreign
            FOREIGN KEY ("orgId") REFERENCES %1$I.organizations (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.gateways_v2 ADD CONSTRAINT gateways_v2_identityid_unique UNIQUE ("identityId");
        ALTER TABLE %1$I.gateways_v2 ADD CONSTRAINT gateways_v2_identityid_foreign
            FOREIGN KEY ("identityId") REFERENCES %1$I.identities (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.gateways_v2 ADD CONSTRAINT gateways_v2_relayid_foreign
            FOREIGN KEY ("relayId") REFERENCES %1$I.relays (id) ON DELETE SET NULL;
        ALTER TABLE %1$I.gateways_v2 ADD CONSTRAINT gateways_v2_orgid_name_unique UNIQUE ("orgId", name);
    $sql$, target,
        CASE WHEN stage >= 0 THEN ', heartbeat timestamptz' ELSE '' END,
        CASE WHEN stage >= 0 THEN ', "healthAlertedAt" timestamptz' ELSE '' END,
        CASE WHEN stage >= 0 THEN ', "lastHealthCheckStatus" varchar(255)' ELSE '' END);

    -- Columns that were added to the older tables later, in the same order.
    EXECUTE format($sql$
        ALTER TABLE %1$I.identity_kubernetes_auths ADD COLUMN "gatewayV2Id" uuid;
        ALTER TABLE %1$I.identity_kubernetes_auths
            ADD CONSTRAINT identity_kubernetes_auths_gatewayv2id_foreign
            FOREIGN KEY ("gatewayV2Id") REFERENCES %1$I.gateways_v2 (id) ON DELETE SET NULL;
        ALTER TABLE %1$I.organizations ADD COLUMN "parentOrgId" uuid, ADD COLUMN "rootOrgId" uuid;
        ALTER TABLE %1$I.organizations ADD CONSTRAINT organizations_parentorgid_foreign
            FOREIGN KEY ("parentOrgId") REFERENCES %1$I.organizations (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.organizations ADD CONSTRAINT organizations_rootorgid_foreign
            FOREIGN KEY ("rootOrgId") REFERENCES %1$I.organizations (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.organizations ADD CONSTRAINT organizations_rootorgid_parentorgid_slug_unique
            UNIQUE ("rootOrgId", "parentOrgId", slug);
        ALTER TABLE %1$I.identities ADD COLUMN "orgId" uuid NOT NULL, ADD COLUMN "projectId" varchar(255);
        ALTER TABLE %1$I.identities ADD CONSTRAINT identities_orgid_foreign
            FOREIGN KEY ("orgId") REFERENCES %1$I.organizations (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.identity_kubernetes_auths
            ADD COLUMN "verifyTlsCertificate" boolean NOT NULL DEFAULT false;
        CREATE INDEX idx_organizations_root_org_id ON %1$I.organizations ("rootOrgId")
            WHERE "rootOrgId" IS NOT NULL;
        CREATE INDEX idx_identities_org_id ON %1$I.identities ("orgId");
        ALTER TABLE %1$I.identity_kubernetes_auths
            ADD COLUMN "isTokenReviewerJwtTemplateSourced" boolean NOT NULL DEFAULT false;
        ALTER TABLE %1$I.organizations ADD COLUMN "requireGatewayPools" boolean NOT NULL DEFAULT false;
    $sql$, target);

    FOREACH created IN ARRAY ARRAY['organizations', 'identities', 'gateways', 'identity_kubernetes_auths',
                                   'relays', 'gateways_v2']::name[] LOOP
        PERFORM host_test.create_on_update_trigger(target, created);
    END LOOP;

    IF stage >= 1 THEN
        PERFORM host_test.migrate_heartbeat_ttl(target);
    END IF;
    IF stage >= 2 THEN
        PERFORM host_test.migrate_capabilities(target);
        PERFORM host_test.migrate_direct_address(target);
    END IF;
    PERFORM host_test.end_role(before);
END
$function$;

-- Creates more tables that can reference a pool, in other ways than identity_kubernetes_auths:
-- app_connections by a key with RESTRICT, resource_kubernetes_auths by a deferred key,
-- identity_auth_templates by a key with SET NULL, dynamic_secrets not yet. The second belongs to a gateway
-- through resource_auth_methods. Needs gateway_pools. The host has no foreign key on
-- app_connections."gatewayId", although it references gateways_v2; gateway_key adds one.
CREATE OR REPLACE FUNCTION host_test.make_other_consumers(
    target name DEFAULT 'app', gateway_key boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text := host_test.begin_role(host_test.host_owner(target));
BEGIN
    EXECUTE format($sql$
        CREATE TABLE %1$I.app_connections (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(32) NOT NULL,
            app varchar(255) NOT NULL,
            "orgId" uuid NOT NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
        ALTER TABLE %1$I.app_connections ADD CONSTRAINT app_connections_orgid_foreign
            FOREIGN KEY ("orgId") REFERENCES %1$I.organizations (id) ON DELETE CASCADE;
    $sql$, target);
    PERFORM host_test.create_on_update_trigger(target, 'app_connections');
    EXECUTE format('ALTER TABLE %I.app_connections ADD COLUMN "gatewayId" uuid NULL', target);
    IF gateway_key THEN
        EXECUTE format($sql$
            ALTER TABLE %1$I.app_connections ADD CONSTRAINT app_connections_gatewayid_foreign
                FOREIGN KEY ("gatewayId") REFERENCES %1$I.gateways_v2 (id) ON DELETE SET NULL
        $sql$, target);
    END IF;
    EXECUTE format($sql$
        ALTER TABLE %1$I.app_connections ADD COLUMN "gatewayPoolId" uuid NULL;
        ALTER TABLE %1$I.app_connections ADD CONSTRAINT app_connections_gatewaypoolid_foreign
            FOREIGN KEY ("gatewayPoolId") REFERENCES %1$I.gateway_pools (id) ON DELETE RESTRICT;
    $sql$, target);

    EXECUTE format($sql$
        CREATE TABLE %1$I.resource_auth_methods (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            "gatewayId" uuid NULL,
            method varchar(255) NOT NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
        ALTER TABLE %1$I.resource_auth_methods ADD CONSTRAINT resource_auth_methods_gatewayid_foreign
            FOREIGN KEY ("gatewayId") REFERENCES %1$I.gateways_v2 (id) ON DELETE CASCADE;
        CREATE UNIQUE INDEX one_method_per_gateway ON %1$I.resource_auth_methods ("gatewayId")
            WHERE "gatewayId" IS NOT NULL;
    $sql$, target);
    PERFORM host_test.create_on_update_trigger(target, 'resource_auth_methods');

    EXECUTE format($sql$
        CREATE TABLE %1$I.resource_kubernetes_auths (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            "authMethodId" uuid NOT NULL,
            "kubernetesHost" varchar(255) NULL,
            "encryptedKubernetesCaCertificate" bytea NULL,
            "encryptedKubernetesTokenReviewerJwt" bytea NULL,
            "allowedNamespaces" varchar(1024) NOT NULL DEFAULT '',
            "allowedNames" varchar(1024) NOT NULL DEFAULT '',
            "allowedAudience" varchar(255) NOT NULL DEFAULT '',
            "verifyTlsCertificate" boolean NOT NULL DEFAULT true,
            "tokenReviewMode" varchar(32) NOT NULL DEFAULT 'api',
            "gatewayV2Id" uuid NULL,
            "gatewayPoolId" uuid NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
        ALTER TABLE %1$I.resource_kubernetes_auths
            ADD CONSTRAINT resource_kubernetes_auths_authmethodid_unique UNIQUE ("authMethodId");
        ALTER TABLE %1$I.resource_kubernetes_auths
            ADD CONSTRAINT resource_kubernetes_auths_authmethodid_foreign
            FOREIGN KEY ("authMethodId") REFERENCES %1$I.resource_auth_methods (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.resource_kubernetes_auths
            ADD CONSTRAINT resource_kubernetes_auths_gatewayv2id_foreign
            FOREIGN KEY ("gatewayV2Id") REFERENCES %1$I.gateways_v2 (id) DEFERRABLE INITIALLY DEFERRED;
        ALTER TABLE %1$I.resource_kubernetes_auths
            ADD CONSTRAINT resource_kubernetes_auths_gatewaypoolid_foreign
            FOREIGN KEY ("gatewayPoolId") REFERENCES %1$I.gateway_pools (id) DEFERRABLE INITIALLY DEFERRED;
        CREATE INDEX IF NOT EXISTS resource_kubernetes_auths_gateway_v2_id_index
            ON %1$I.resource_kubernetes_auths ("gatewayV2Id") WHERE "gatewayV2Id" IS NOT NULL;
        CREATE INDEX IF NOT EXISTS resource_kubernetes_auths_gateway_pool_id_index
            ON %1$I.resource_kubernetes_auths ("gatewayPoolId") WHERE "gatewayPoolId" IS NOT NULL;
    $sql$, target);
    PERFORM host_test.create_on_update_trigger(target, 'resource_kubernetes_auths');

    -- The organization is three joins away; "gatewayId" references the retired gateways.
    EXECUTE format($sql$
        CREATE TABLE %1$I.projects (
            id varchar(36) PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            "orgId" uuid NOT NULL REFERENCES %1$I.organizations (id) ON DELETE CASCADE);
        CREATE TABLE %1$I.project_environments (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            slug varchar(255) NOT NULL,
            "projectId" varchar(36) NOT NULL REFERENCES %1$I.projects (id) ON DELETE CASCADE);
        CREATE TABLE %1$I.secret_folders (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            "envId" uuid NOT NULL REFERENCES %1$I.project_environments (id) ON DELETE CASCADE);
        CREATE TABLE %1$I.dynamic_secrets (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            type varchar(255) NOT NULL,
            "folderId" uuid NOT NULL REFERENCES %1$I.secret_folders (id) ON DELETE CASCADE,
            "gatewayId" uuid NULL REFERENCES %1$I.gateways (id) ON DELETE SET NULL,
            "gatewayV2Id" uuid NULL REFERENCES %1$I.gateways_v2 (id) ON DELETE SET NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
    $sql$, target);
    PERFORM host_test.create_on_update_trigger(target, 'dynamic_secrets');

    -- Three gateway columns, whose keys and indexes are the host's.
    EXECUTE format($sql$
        CREATE TABLE %1$I.identity_auth_templates (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(64) NOT NULL,
            "orgId" uuid NOT NULL REFERENCES %1$I.organizations (id) ON DELETE CASCADE,
            "authMethod" varchar(255) NOT NULL,
            "gatewayId" uuid NULL REFERENCES %1$I.gateways (id) ON DELETE SET NULL,
            "gatewayV2Id" uuid NULL REFERENCES %1$I.gateways_v2 (id) ON DELETE SET NULL,
            "gatewayPoolId" uuid NULL,
            "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
            "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);
        ALTER TABLE %1$I.identity_auth_templates ADD CONSTRAINT identity_auth_templates_gatewaypoolid_foreign
            FOREIGN KEY ("gatewayPoolId") REFERENCES %1$I.gateway_pools (id) ON DELETE SET NULL;
        CREATE INDEX identity_auth_templates_gatewaypoolid_index ON %1$I.identity_auth_templates ("gatewayPoolId");
    $sql$, target);
    PERFORM host_test.create_on_update_trigger(target, 'identity_auth_templates');
    PERFORM host_test.end_role(before);
END
$function$;

-- Creates all tables that can reference a pool: those of make_other_consumers(), and those of projects, each
-- with the keys of the application. The rows of some have exactly one of gateway and pool, or not both.
CREATE OR REPLACE FUNCTION host_test.make_all_consumers(target name DEFAULT 'app') RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    before text;
    made record;
BEGIN
    PERFORM host_test.make_other_consumers(target);
    before := host_test.begin_role(host_test.host_owner(target));
    EXECUTE format($sql$
        ALTER TABLE %1$I.app_connections ADD COLUMN "projectId" varchar(36) NULL
            REFERENCES %1$I.projects (id) ON DELETE CASCADE;
        ALTER TABLE %1$I.dynamic_secrets ADD COLUMN "gatewayPoolId" uuid NULL;
        ALTER TABLE %1$I.dynamic_secrets ADD CONSTRAINT dynamic_secrets_gatewaypoolid_foreign
            FOREIGN KEY ("gatewayPoolId") REFERENCES %1$I.gateway_pools (id) ON DELETE RESTRICT;
        CREATE TABLE %1$I.pam_folders (
            id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
            name varchar(255) NOT NULL,
            "projectId" varchar(36) NOT NULL REFERENCES %1$I.projects (id) ON DELETE CASCADE);
    $sql$, target);
    FOR made IN
        SELECT * FROM (VALUES
            ('pki_discovery_configs', '"projectId" varchar(36) NOT NULL', 'projects', 'SET NULL', 'RESTRICT', ''),
            ('pam_domains', '"projectId" varchar(36) NOT NULL', 'projects', 'SET NULL', 'RESTRICT', ''),
            ('pam_resources', '"projectId" varchar(36) NOT NULL', 'projects', 'SET NULL', 'RESTRICT', ''),
            ('pam_account_templates', '"projectId" varchar(36) NOT NULL', 'projects', 'SET NULL', 'SET NULL', ''),
            ('pam_discovery_sources', '"projectId" varchar(36) NOT NULL', 'projects', 'SET NULL', 'SET NULL', ''),
            ('hsm_connectors', '"projectId" varchar(36) NOT NULL', 'projects', 'RESTRICT', 'RESTRICT',
             ', CHECK (("gatewayId" IS NULL) <> ("gatewayPoolId" IS NULL))'),
            ('agent_gateways', '"projectId" varchar(36) NOT NULL', 'projects', 'NO ACTION', 'NO ACTION',
             ', CHECK ("gatewayId" IS NULL OR "gatewayPoolId" IS NULL)'),
            ('pam_accounts', '"folderId" uuid NOT NULL', 'pam_folders', 'SET NULL', 'SET NULL', '')
            ) t (name, parent_column, parent, gateway_action, pool_action, rules)
    LOOP
        EXECUTE format($sql$
            CREATE TABLE %1$I.%2$I (
                id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
                name varchar(255) NOT NULL,
                %3$s REFERENCES %1$I.%4$I (id) ON DELETE CASCADE,
                "gatewayId" uuid NULL,
                "gatewayPoolId" uuid NULL,
                "createdAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
                "updatedAt" timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP%7$s);
            ALTER TABLE %1$I.%2$I ADD CONSTRAINT %8$I
                FOREIGN KEY ("gatewayId") REFERENCES %1$I.gateways_v2 (id) ON DELETE %5$s;
            ALTER TABLE %1$I.%2$I ADD CONSTRAINT %9$I
                FOREIGN KEY ("gatewayPoolId") REFERENCES %1$I.gateway_pools (id) ON DELETE %6$s;
        $sql$, target, made.name, made.parent_column, made.parent, made.gateway_action, made.pool_action,
            made.rules, made.name || '_gatewayid_foreign', made.name || '_gatewaypoolid_foreign');
        PERFORM host_test.create_on_update_trigger(target, made.name::name);
        IF made.name IN ('pam_discovery_sources', 'hsm_connectors') THEN
            EXECUTE format('CREATE INDEX %3$I ON %1$I.%2$I ("gatewayId"); CREATE INDEX %4$I ON %1$I.%2$I ("gatewayPoolId")',
                           target, made.name, made.name || '_gatewayid_index', made.name || '_gatewaypoolid_index');
        END IF;
    END LOOP;
    PERFORM host_test.end_role(before);
END
$function$;

-----------------------------------------------------------------------------------------------------------
-- Rows
-----------------------------------------------------------------------------------------------------------

-- Adds an organization; the slug is made from its name.
CREATE OR REPLACE FUNCTION host_test.add_org(target name, name text, id uuid DEFAULT gen_random_uuid())
RETURNS uuid
LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.organizations (id, name, slug) VALUES ($1, $2, $3)', target)
        USING id, name, lower(regexp_replace(name, '[^a-zA-Z0-9]+', '-', 'g'));
    RETURN id;
END
$function$;

-- Adds an identity.
CREATE OR REPLACE FUNCTION host_test.add_identity(
    target name, org uuid, name text, id uuid DEFAULT gen_random_uuid())
RETURNS uuid
LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE format('INSERT INTO %I.identities (id, name, "orgId") VALUES ($1, $2, $3)', target)
        USING id, name, org;
    RETURN id;
END
$function$;

-- Removes the host's tables and the extension in a schema.
CREATE OR REPLACE FUNCTION host_test.remove_host(target name) RETURNS void
LANGUAGE plpgsql SET client_min_messages = warning AS $function$
BEGIN
    DROP EXTENSION IF EXISTS gateway_pool CASCADE;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', target);
END
$function$;

-- Returns what distinguishes the definitions of the tables of a schema.
CREATE OR REPLACE FUNCTION host_test.definitions(target name) RETURNS text
LANGUAGE sql STABLE AS $function$
    SELECT md5(string_agg(d, ' ' ORDER BY d))
      FROM (SELECT c.oid::text FROM pg_constraint c WHERE c.connamespace = target::text::regnamespace
            UNION ALL
            SELECT concat_ws(':', a.attrelid, a.attname, a.atttypid)
              FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             WHERE c.relnamespace = target::text::regnamespace AND c.relkind = 'r'
            UNION ALL
            SELECT concat_ws(':', t.oid, t.tgenabled)
              FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
             WHERE c.relnamespace = target::text::regnamespace) x (d)
$function$;

-- Makes the host's tables and the extension in a schema or, where it has them unchanged, removes their rows (not those
-- of the audit log, which is append-only): isolation tests would spend most of their time on making tables.
-- Gateways of these names stay, with organization and health, for which a test would have to wait again.  What a test prints of health
-- must not depend on gateways that the permutation before has deleted: the worker may still have them.
CREATE OR REPLACE FUNCTION host_test.make_or_empty_host(target name, VARIADIC kept_gateways text[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET client_min_messages = warning AS $function$
DECLARE
    kept oid[] := ARRAY[to_regclass(format('%I.gateway_pool_audit_logs', target))];
    tables text;
BEGIN
    IF to_regnamespace(target) IS NULL
       OR obj_description(to_regnamespace(target), 'pg_namespace') IS DISTINCT FROM host_test.definitions(target) THEN
        PERFORM host_test.remove_host(target);
        PERFORM host_test.make_host(target, 2);
        EXECUTE format('CREATE EXTENSION gateway_pool SCHEMA %I', target);
        EXECUTE format('COMMENT ON SCHEMA %I IS %L', target, host_test.definitions(target));
        RETURN;
    END IF;
    IF cardinality(kept_gateways) > 0 THEN
        -- And the tables that they reference.
        WITH RECURSIVE t (id) AS (
            SELECT format('%I.gateway_health', target)::regclass::oid
            UNION
            SELECT k.confrelid FROM t JOIN pg_constraint k ON k.conrelid = t.id AND k.contype = 'f')
        SELECT kept || array_agg(id) INTO kept FROM t;
    END IF;
    SELECT string_agg(c.oid::regclass::text, ', ') INTO tables
      FROM pg_class c WHERE c.relnamespace = to_regnamespace(target) AND c.relkind = 'r' AND c.oid <> ALL (kept);
    -- The guard of pools looks for references.
    EXECUTE format('TRUNCATE %I.identity_kubernetes_auths', target);
    EXECUTE 'TRUNCATE ' || tables || ' RESTART IDENTITY';
    IF cardinality(kept_gateways) > 0 THEN
        EXECUTE format('DELETE FROM %I.gateways_v2 WHERE name <> ALL ($1)', target) USING kept_gateways;
        EXECUTE format('DELETE FROM %1$I.organizations o WHERE NOT EXISTS (SELECT FROM %1$I.gateways_v2 g WHERE g."orgId" = o.id)', target);
        EXECUTE format('DELETE FROM %1$I.identities i WHERE NOT EXISTS (SELECT FROM %1$I.gateways_v2 g WHERE g."identityId" = i.id)', target);
        EXECUTE format('DELETE FROM %1$I.relays r WHERE NOT EXISTS (SELECT FROM %1$I.gateways_v2 g WHERE g."relayId" = r.id)', target);
    END IF;
END
$function$;

-- Waits until the worker has recorded the health of this many gateways: a deletion under REPEATABLE READ
-- whose cascade meets the first recording of a gateway fails with a serialization error.
CREATE OR REPLACE FUNCTION host_test.wait_for_health(target name, gateways int) RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    recorded int;
BEGIN
    FOR i IN 1 .. 1000 LOOP
        EXECUTE format('SELECT count(*) FROM %I.gateway_health', target) INTO recorded;
        EXIT WHEN recorded = gateways;
        PERFORM pg_sleep(0.01);
    END LOOP;
END
$function$;

-- Adds a gateway with an identity and a relay of its own. Its last heartbeat is heartbeat_age old (NULL:
-- none), is a good one, and has the time-to-live of an up-to-date agent if the stage has the column.
CREATE OR REPLACE FUNCTION host_test.add_gateway(
    target name, org uuid, name text, heartbeat_age interval DEFAULT '0s',
    id uuid DEFAULT gen_random_uuid())
RETURNS uuid
LANGUAGE plpgsql AS $function$
DECLARE
    gateways regclass := format('%I.gateways_v2', target)::regclass;
    identity_id uuid := host_test.derived_id('gateway identity', id);
    relay_id uuid := host_test.derived_id('relay', id);
    heard timestamptz := clock_timestamp() - heartbeat_age;
    columns text := '';
    vals text := '';
BEGIN
    PERFORM host_test.add_identity(target, org, name, identity_id);
    EXECUTE format($sql$
        INSERT INTO %I.relays (id, "orgId", name, host, heartbeat)
        VALUES ($1, $2, $3, '127.0.0.1', clock_timestamp())
    $sql$, target)
        USING relay_id, org, name;

    IF heard IS NOT NULL THEN
        SELECT string_agg(format(', %I', a.attname), '' ORDER BY a.attnum),
               string_agg(CASE a.attname
                              WHEN 'heartbeat' THEN ', $6'
                              WHEN 'lastHealthCheckStatus' THEN ', ''healthy'''
                              WHEN 'heartbeatTTL' THEN ', 180'
                              WHEN 'capabilities' THEN ', ''{}'''
                          END, '' ORDER BY a.attnum)
        INTO columns, vals
        FROM pg_attribute AS a
        WHERE a.attrelid = gateways AND NOT a.attisdropped
          AND a.attname IN ('heartbeat', 'lastHealthCheckStatus', 'heartbeatTTL', 'capabilities');
    END IF;
    EXECUTE format('INSERT INTO %I.gateways_v2 (id, "orgId", "identityId", "relayId", name%s)'
                   ' VALUES ($1, $2, $3, $4, $5%s)', target, columns, vals)
        USING id, org, identity_id, relay_id, name, heard;
    RETURN id;
END
$function$;

-- Adds an identity that logs in with Kubernetes; the id is that of the row in identity_kubernetes_auths.
CREATE OR REPLACE FUNCTION host_test.add_kubernetes_auth(
    target name, org uuid, name text, id uuid DEFAULT gen_random_uuid())
RETURNS uuid
LANGUAGE plpgsql AS $function$
DECLARE
    identity_id uuid := host_test.derived_id('kubernetes identity', id);
BEGIN
    PERFORM host_test.add_identity(target, org, name, identity_id);
    EXECUTE format($sql$
        INSERT INTO %I.identity_kubernetes_auths
            (id, "identityId", "accessTokenTrustedIps", "kubernetesHost",
             "allowedNamespaces", "allowedNames", "allowedAudience")
        VALUES ($1, $2, '[{"ipAddress": "0.0.0.0", "type": "ipv4", "prefix": 0}]',
                'https://kubernetes.default.svc', 'default', 'default', '')
    $sql$, target)
        USING id, identity_id;
    RETURN id;
END
$function$;

-- Adds an app connection that goes through a pool, or through none.
CREATE OR REPLACE FUNCTION host_test.add_app_connection(
    target name, org uuid, name text, pool uuid DEFAULT NULL, id uuid DEFAULT gen_random_uuid())
RETURNS uuid
LANGUAGE plpgsql AS $function$
BEGIN
    EXECUTE format($sql$
        INSERT INTO %I.app_connections (id, "orgId", name, app, "gatewayPoolId")
        VALUES ($1, $2, $3, 'postgres', $4)
    $sql$, target)
        USING id, org, name, pool;
    RETURN id;
END
$function$;

-- Lets a gateway enroll with Kubernetes; its token is reviewed through a pool, or through none.
CREATE OR REPLACE FUNCTION host_test.add_resource_kubernetes_auth(
    target name, gateway uuid, pool uuid DEFAULT NULL, id uuid DEFAULT gen_random_uuid())
RETURNS uuid
LANGUAGE plpgsql AS $function$
DECLARE
    method_id uuid := host_test.derived_id('method', id);
BEGIN
    EXECUTE format($sql$
        INSERT INTO %I.resource_auth_methods (id, "gatewayId", method) VALUES ($1, $2, 'kubernetes')
    $sql$, target)
        USING method_id, gateway;
    EXECUTE format($sql$
        INSERT INTO %I.resource_kubernetes_auths (id, "authMethodId", "kubernetesHost", "gatewayPoolId")
        VALUES ($1, $2, 'https://kubernetes.default.svc', $3)
    $sql$, target)
        USING id, method_id, pool;
    RETURN id;
END
$function$;

-- Adds a project with an environment, a folder of secrets and a folder of accounts, whose ids are derived
-- from the project's.
CREATE OR REPLACE FUNCTION host_test.add_project(target name, org uuid, name text, id text) RETURNS text
LANGUAGE plpgsql AS $function$
DECLARE
    key uuid := host_test.derived_id(id, org);
BEGIN
    EXECUTE format($sql$
        INSERT INTO %1$I.projects (id, name, "orgId") VALUES ($1, $2, $3);
    $sql$, target) USING id, name, org;
    EXECUTE format($sql$
        INSERT INTO %1$I.project_environments (id, name, slug, "projectId") VALUES ($1, 'Production', 'prod', $2);
    $sql$, target) USING host_test.derived_id('environment', key), id;
    EXECUTE format($sql$
        INSERT INTO %1$I.secret_folders (id, name, "envId") VALUES ($1, 'root', $2);
    $sql$, target) USING host_test.derived_id('folder', key), host_test.derived_id('environment', key);
    EXECUTE format($sql$
        INSERT INTO %1$I.pam_folders (id, name, "projectId") VALUES ($1, 'accounts', $2);
    $sql$, target) USING host_test.derived_id('pam folder', key), id;
    RETURN id;
END
$function$;

-- Adds a row named "name" to each of the tables of make_all_consumers(), for a project of an organization; all
-- are reached through a pool. The gateway is the one that enrolls.
CREATE OR REPLACE FUNCTION host_test.add_to_all_consumers(
    target name, org uuid, project text, name text, pool uuid, gateway uuid) RETURNS void
LANGUAGE plpgsql AS $function$
DECLARE
    key uuid := host_test.derived_id(project, org);
    made name;
BEGIN
    EXECUTE format('UPDATE %I.identity_kubernetes_auths SET "gatewayPoolId" = $1 WHERE id = $2', target)
        USING pool, host_test.add_kubernetes_auth(target, org, name);
    EXECUTE format('UPDATE %I.app_connections SET "projectId" = $1 WHERE id = $2', target)
        USING project, host_test.add_app_connection(target, org, name, pool);
    PERFORM host_test.add_resource_kubernetes_auth(target, gateway, pool);
    EXECUTE format($sql$
        INSERT INTO %I.identity_auth_templates (name, "orgId", "authMethod", "gatewayPoolId")
        VALUES ($1, $2, 'kubernetes-auth', $3)
    $sql$, target) USING name, org, pool;
    EXECUTE format($sql$
        INSERT INTO %I.dynamic_secrets (name, type, "folderId", "gatewayPoolId") VALUES ($1, 'sql-database', $2, $3)
    $sql$, target) USING name, host_test.derived_id('folder', key), pool;
    EXECUTE format('INSERT INTO %I.pam_accounts (name, "folderId", "gatewayPoolId") VALUES ($1, $2, $3)', target)
        USING name, host_test.derived_id('pam folder', key), pool;
    FOREACH made IN ARRAY ARRAY['pki_discovery_configs', 'pam_domains', 'pam_resources', 'pam_account_templates',
                                'pam_discovery_sources', 'hsm_connectors', 'agent_gateways']
    LOOP
        EXECUTE format('INSERT INTO %I.%I (name, "projectId", "gatewayPoolId") VALUES ($1, $2, $3)', target, made)
            USING name, project, pool;
    END LOOP;
END
$function$;
