-- Installing, and what that leaves to whom.
\set VERBOSITY default

-- Taken back, it leaves nothing.
BEGIN;
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
ROLLBACK;
SELECT to_regnamespace('momento_billing') IS NULL AS no_schema,
	NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'momento_billing') AS no_extension;

CREATE EXTENSION momento_billing;
SELECT extversion, extrelocatable FROM pg_extension WHERE extname = 'momento_billing';
CREATE EXTENSION momento_billing;
ALTER EXTENSION momento_billing SET SCHEMA public;

-- The functions: kind, safety, and with whose rights they run.
SELECT p.oid::regprocedure AS function, p.provolatile AS v, p.proparallel AS p, p.proisstrict AS strict, p.prosecdef AS definer
	FROM pg_proc p WHERE p.pronamespace = 'momento_billing'::regnamespace
	ORDER BY p.oid::regprocedure::text COLLATE "C";

-- The tables and views.
SELECT c.relname, c.relkind FROM pg_class c
	WHERE c.relnamespace = 'momento_billing'::regnamespace AND c.relkind IN ('r', 'v', 'S')
	ORDER BY c.relname COLLATE "C";

-- Every table and sequence is dumped with its rows, whole.
SELECT c.relname FROM pg_class c, pg_extension e
	WHERE c.relnamespace = 'momento_billing'::regnamespace AND c.relkind IN ('r', 'S')
		AND e.extname = 'momento_billing' AND c.oid <> ALL (e.extconfig);
SELECT DISTINCT unnest(extcondition) AS condition FROM pg_extension WHERE extname = 'momento_billing';

-- Nothing is without a comment, a sequence apart, which is its table's.
SELECT pg_describe_object(d.classid, d.objid, 0) AS uncommented
	FROM pg_depend d
	LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	WHERE d.refclassid = 'pg_extension'::regclass
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'momento_billing')
		AND d.deptype = 'e' AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
		AND c.relkind IS DISTINCT FROM 'S'
		AND obj_description(d.objid, d.classid::regclass::text) IS NULL
	ORDER BY 1;
SELECT obj_description('momento_billing'::regnamespace, 'pg_namespace') IS NOT NULL AS schema_commented;

-- PUBLIC has nothing.
SELECT has_schema_privilege('public', 'momento_billing', 'USAGE') AS usage,
	has_schema_privilege('public', 'momento_billing', 'CREATE') AS create;
SELECT p.oid::regprocedure AS executable FROM pg_proc p
	WHERE p.pronamespace = 'momento_billing'::regnamespace AND has_function_privilege('public', p.oid, 'EXECUTE');
SELECT c.oid::regclass AS accessible FROM pg_class c
	WHERE c.relnamespace = 'momento_billing'::regnamespace AND c.relkind IN ('r', 'v')
		AND has_table_privilege('public', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
SELECT c.oid::regclass AS accessible FROM pg_class c
	WHERE c.relnamespace = 'momento_billing'::regnamespace
		AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('public', c.oid, 'USAGE, SELECT, UPDATE') END;
SELECT attrelid::regclass, attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
	WHERE c.relnamespace = 'momento_billing'::regnamespace AND a.attacl IS NOT NULL;

-- No object of the app, nor of any other extension, is depended on.
SELECT DISTINCT pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) AS outside
	FROM pg_depend d
	JOIN pg_depend m ON m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e'
		AND m.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'momento_billing')
	WHERE d.deptype = 'n' AND d.refobjid >= 16384
		AND NOT EXISTS (SELECT FROM pg_depend o WHERE o.classid = d.refclassid AND o.objid = d.refobjid
			AND o.deptype = 'e' AND o.refobjid = m.refobjid)
		AND d.refobjid <> 'momento_billing'::regnamespace
		AND d.refclassid <> 'pg_class'::regclass
	ORDER BY 1;

-- Dropped, it leaves nothing but its schema, which the control file names and
-- which is therefore no member of it.
DROP EXTENSION momento_billing;
SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('momento_billing');
SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('momento_billing');
SELECT count(*) FROM pg_type WHERE typnamespace = to_regnamespace('momento_billing');

-- Made anew, in the same session, it works.
CREATE EXTENSION momento_billing;
SELECT momento_billing.seed_plans();
SELECT momento_billing.create_subscription_table();
SELECT momento_billing.effective_tier('nobody');
DROP EXTENSION momento_billing;
SELECT momento_billing.effective_tier('nobody');
CREATE EXTENSION momento_billing;
SELECT momento_billing.effective_tier('nobody');
DROP EXTENSION momento_billing;
DROP SCHEMA IF EXISTS momento_billing;
DROP TABLE public."Subscription";
DROP TYPE public."SubscriptionTier", public."SubscriptionStatus";
