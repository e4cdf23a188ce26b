-- The table that a run of measurements shows at its end.

CREATE FUNCTION bench.us(us double precision) RETURNS text LANGUAGE sql AS $function$
    SELECT CASE WHEN us < 10 THEN round(us::numeric, 2) WHEN us < 100 THEN round(us::numeric, 1)
                ELSE round(us::numeric) END || ' µs'
$function$;

-- Reached and rival as shown, the ratio of their values, and met: true if the budget is met. NULL where there is none.
CREATE TABLE bench.report (
    place int GENERATED ALWAYS AS IDENTITY,
    what text, budget text, reached text, rival text, ratio double precision, met boolean);
