-- Writes the heartbeats of one gateway, -v gateway=NAME, as the host does, until its session is ended.

SET application_name = :'gateway';
UPDATE gateways_v2 SET heartbeat = now(), "lastHealthCheckStatus" = 'healthy' WHERE name = :'gateway'
\watch 0.3
