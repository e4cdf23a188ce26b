-- Ids of the scene as psql variables: :'acme', :'pool' and so on.

SELECT (SELECT id FROM organizations WHERE name = 'Acme') AS acme,
       (SELECT id FROM organizations WHERE name = 'Globex') AS globex,
       (SELECT id FROM gateways_v2 WHERE name = 'primary') AS primary,
       (SELECT id FROM gateways_v2 WHERE name = 'standby-1') AS standby_1,
       (SELECT id FROM gateways_v2 WHERE name = 'standby-2') AS standby_2,
       (SELECT id FROM gateways_v2 WHERE name = 'stranger') AS stranger,
       (SELECT id FROM gateways_v2 WHERE name = 'edge-1') AS edge_1,
       (SELECT id FROM gateways_v2 WHERE name = 'edge-2') AS edge_2,
       (SELECT id FROM gateways_v2 WHERE name = 'edge-3') AS edge_3,
       (SELECT id FROM gateway_pools WHERE name = 'edge') AS edge,
       (SELECT id FROM gateway_pools WHERE name = 'production') AS pool,
       (SELECT a.id FROM identity_kubernetes_auths AS a JOIN identities AS i ON i.id = a."identityId"
        WHERE i.name = 'deploy-bot') AS auth \gset
