-- enforce_quota(): a trigger that no code path gets by.
BEGIN;
SET LOCAL client_min_messages = warning;
\ir ../fixtures/sql/quotas.sql
SELECT no_plan();
SELECT fixture.set_up_quotas();
CREATE TABLE public.board (id text PRIMARY KEY, dropped int, "userId" text, title text NOT NULL DEFAULT '');
ALTER TABLE public.board DROP COLUMN dropped;
CREATE TRIGGER quota AFTER INSERT ON public.board FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_expand', 'userId');
CREATE FUNCTION pg_temp.boards(u text) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM public.board WHERE "userId" = u$$;
-- A board of user "u", by a table whose trigger is made as given.
CREATE FUNCTION pg_temp.try(timing text, arguments text, work text DEFAULT 'INSERT INTO public.tried VALUES (1, ''ut'')') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	CREATE TABLE public.tried (id int PRIMARY KEY, "userId" text);
	EXECUTE format('CREATE TRIGGER quota %s EXECUTE FUNCTION momento_billing.enforce_quota(%s)', format(timing, 'public.tried'), arguments);
	EXECUTE work;
	DROP TABLE public.tried;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;

-- One row, one unit.
INSERT INTO public.board VALUES ('a1', 'ua');
SELECT is(fixture.counters('ua', 'brainstorm_expand'), '1+0', 'one row uses one unit');
INSERT INTO public.board SELECT 'a' || n, 'ua' FROM generate_series(2, 9) AS n;
SELECT is(fixture.counters('ua', 'brainstorm_expand'), '9+0', 'eight rows of one statement use eight');
UPDATE public.board SET title = 'x' WHERE "userId" = 'ua';
DELETE FROM public.board WHERE id = 'a9';
SELECT is(fixture.counters('ua', 'brainstorm_expand'), '9+0', 'updates and deletes use none and give none back');
SELECT matches(fixture.error($$INSERT INTO public.board SELECT 'b' || n, 'ua' FROM generate_series(1, 2) AS n$$), '^MB005 [^(]* \(User "ua" .+\)', 'two are one too many: MB005, with a detail');
SELECT matches(fixture.error($$INSERT INTO public.board SELECT 'b' || n, 'ua' FROM generate_series(1, 2) AS n$$), '^MB005 [^(]*"brainstorm_expand"', 'which says of what');
SELECT is(concat_ws(' ', fixture.counters('ua', 'brainstorm_expand'), pg_temp.boards('ua')), '9+0 8', 'neither row is there, and neither unit is used');
INSERT INTO public.board VALUES ('a10', 'ua');
SELECT is(concat_ws(' ', fixture.counters('ua', 'brainstorm_expand'), pg_temp.boards('ua')), '10+0 9', 'the last one');
SELECT throws_ok($$INSERT INTO public.board VALUES ('a11', 'ua')$$, 'MB005', NULL, 'and one more');
SELECT is(fixture.crossed('ua'), '80 100', 'which is noted, as by consume_quota()');
INSERT INTO public.board VALUES ('c1', 'uc'), ('d1', 'ud'), ('c2', 'uc');
SELECT is(concat_ws(' ', fixture.counters('uc', 'brainstorm_expand'), fixture.counters('ud', 'brainstorm_expand')), '2+0 1+0', 'users in turn');
SELECT momento_billing.grant_quota('ua', 'brainstorm_expand', 2) AS quota_grant \gset
INSERT INTO public.board VALUES ('a11', 'ua');
SELECT is((SELECT remaining FROM momento_billing.quota_grant WHERE id = :quota_grant), 1::bigint, 'a grant''s unit');
SELECT allowed AS held FROM momento_billing.reserve_quota('ua', 'brainstorm_expand') \gset
SELECT throws_ok($$INSERT INTO public.board VALUES ('a12', 'ua')$$, 'MB005', NULL, 'what is held is not there');
INSERT INTO public.board SELECT 'big' || n, 'big' FROM generate_series(1, 2000) AS n;
SELECT is(fixture.counters('big', 'brainstorm_expand'), '2000+0', 'unlimited counts all the same');
INSERT INTO public.board SELECT 'pro' || n, 'pro' FROM generate_series(1, 100) AS n;
SELECT throws_ok($$INSERT INTO public.board VALUES ('pro101', 'pro')$$, 'MB005', NULL, 'the limit is that of the tier');

-- What the app does with its rows.
INSERT INTO public.board VALUES ('e1', 'ue');
INSERT INTO public.board VALUES ('e1', 'ue'), ('e2', 'ue') ON CONFLICT DO NOTHING;
SELECT is(fixture.counters('ue', 'brainstorm_expand'), '2+0', 'a row that ON CONFLICT drops uses nothing');
INSERT INTO public.board VALUES ('e1', 'ue', 'new'), ('e3', 'ue', 'new') ON CONFLICT (id) DO UPDATE SET title = excluded.title;
SELECT is(fixture.counters('ue', 'brainstorm_expand'), '3+0', 'nor does one that it updates');
SAVEPOINT a;
INSERT INTO public.board VALUES ('e4', 'ue');
ROLLBACK TO a;
SELECT is(fixture.counters('ue', 'brainstorm_expand'), '3+0', 'nor one that is rolled back');
SELECT is(fixture.error($$INSERT INTO public.board VALUES ('e4', 'ue'), ('e5', NULL), ('e6', 'ue')$$) ~ '^22023', true, 'a row without a user is an error');
SELECT matches(fixture.error($$INSERT INTO public.board VALUES ('e4', '')$$), '^22023', 'and with an empty one');
SELECT is(fixture.counters('ue', 'brainstorm_expand'), '3+0', 'and none of that statement''s rows counts');
CREATE FUNCTION pg_temp.insert_in_a_loop() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	refused int := 0;
BEGIN
	FOR i IN 1 .. 9 LOOP
		BEGIN
			INSERT INTO public.board VALUES ('l' || i, 'ue');
		EXCEPTION WHEN SQLSTATE 'MB005' THEN
			refused := refused + 1;
		END;
	END LOOP;
	RETURN refused || ' refused';
END
$$;
SELECT is(pg_temp.insert_in_a_loop(), '2 refused', 'each in a subtransaction');
SELECT is(concat_ws(' ', fixture.counters('ue', 'brainstorm_expand'), pg_temp.boards('ue')), '10+0 10', 'rows and units agree');
WITH a AS (INSERT INTO public.board VALUES ('f1', 'uf') RETURNING id), b AS (INSERT INTO public.board VALUES ('f2', 'uf') RETURNING id)
	SELECT count(*) AS n FROM a, b \gset
SELECT is(fixture.counters('uf', 'brainstorm_expand'), '2+0', 'two inserts in one statement');
COPY public.board (id, "userId") FROM PROGRAM 'printf "g1\tug\ng2\tug\n"';
SELECT is(fixture.counters('ug', 'brainstorm_expand'), '2+0', 'COPY');

-- Other kinds of tables and columns.
CREATE TABLE public.parted (id int, note text, "userId" text) PARTITION BY RANGE (id);
CREATE TABLE public.parted_2 ("userId" text, gone int, note text, id int);
ALTER TABLE public.parted_2 DROP COLUMN gone;
CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (1) TO (10);
ALTER TABLE public.parted ATTACH PARTITION public.parted_2 FOR VALUES FROM (10) TO (20);
CREATE TRIGGER quota AFTER INSERT ON public.parted FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_expand', 'userId');
INSERT INTO public.parted VALUES (1, 'x', 'parted'), (11, 'y', 'parted'), (12, 'z', 'other');
SELECT is(concat_ws(' ', fixture.counters('parted', 'brainstorm_expand'), fixture.counters('other', 'brainstorm_expand')), '2+0 1+0', 'partitions, whatever the order of their columns');
CREATE TABLE public.varied (id int PRIMARY KEY, number int, name varchar(20), key uuid, padded char(8), "odd ""name""" text);
CREATE TRIGGER n AFTER INSERT ON public.varied FOR EACH ROW WHEN (new.number IS NOT NULL) EXECUTE FUNCTION momento_billing.enforce_quota('auto_tags', 'number');
CREATE TRIGGER v AFTER INSERT ON public.varied FOR EACH ROW WHEN (new.name IS NOT NULL) EXECUTE FUNCTION momento_billing.enforce_quota('auto_tags', 'name');
CREATE TRIGGER k AFTER INSERT ON public.varied FOR EACH ROW WHEN (new.key IS NOT NULL) EXECUTE FUNCTION momento_billing.enforce_quota('auto_tags', 'key');
CREATE TRIGGER o AFTER INSERT ON public.varied FOR EACH ROW WHEN (new."odd ""name""" IS NOT NULL) EXECUTE FUNCTION momento_billing.enforce_quota('auto_tags', 'odd "name"');
INSERT INTO public.varied (id, number) VALUES (1, 42), (2, -7);
INSERT INTO public.varied (id, name) VALUES (3, '42');
INSERT INTO public.varied (id, key) VALUES (4, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11');
INSERT INTO public.varied (id, "odd ""name""") VALUES (5, 'ünïcode');
CREATE TRIGGER p AFTER INSERT ON public.varied FOR EACH ROW WHEN (new.padded IS NOT NULL) EXECUTE FUNCTION momento_billing.enforce_quota('auto_tags', 'padded');
INSERT INTO public.varied (id, padded) VALUES (16, 'pad');
SELECT is(fixture.counters('42', 'auto_tags'), '2+0', 'a number and a varchar');
SELECT is(fixture.counters('-7', 'auto_tags'), '1+0', 'another number');
SELECT is(fixture.counters('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'auto_tags'), '1+0', 'a uuid');
SELECT is(fixture.counters('ünïcode', 'auto_tags'), '1+0', 'a column with an odd name');
SELECT is(fixture.counters('pad', 'auto_tags'), '1+0', 'a char(n), whose blanks are none of the id''s');
CREATE TABLE public.deferred (id int PRIMARY KEY, "userId" text);
CREATE CONSTRAINT TRIGGER quota AFTER INSERT ON public.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_create', 'userId');
INSERT INTO public.deferred VALUES (1, 'later');
SELECT is(fixture.counters('later', 'brainstorm_create'), NULL, 'deferred: not yet');
SET CONSTRAINTS ALL IMMEDIATE;
SELECT is(fixture.counters('later', 'brainstorm_create'), '1+0', 'deferred: at the end');
SELECT throws_ok($$INSERT INTO public.deferred VALUES (2, 'later')$$, 'MB005', NULL, 'and refused');
CREATE TABLE public.before (id int PRIMARY KEY, "userId" text);
CREATE TRIGGER quota BEFORE INSERT ON public.before FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('brainstorm_expand', 'userId');
INSERT INTO public.before VALUES (1, 'uz'), (2, 'uz');
SELECT is((SELECT count(*) FROM public.before), 2::bigint, 'BEFORE INSERT: the rows are there');
SELECT is(fixture.counters('uz', 'brainstorm_expand'), '2+0', 'BEFORE INSERT: and counted');
INSERT INTO public.before VALUES (1, 'uz') ON CONFLICT DO NOTHING;
SELECT is(fixture.counters('uz', 'brainstorm_expand'), '3+0', 'BEFORE INSERT: even those that ON CONFLICT drops');
SELECT throws_ok($$INSERT INTO public.before SELECT n, 'uz' FROM generate_series(10, 20) AS n$$, 'MB005', NULL, 'BEFORE INSERT: refused');

-- Of the plan: what is not in it is refused too.
SELECT is(pg_temp.try('AFTER INSERT ON %s FOR EACH ROW', '''brainstorm_create'', ''userId'''), 'no error', 'a trigger as it should be');
SELECT matches(pg_temp.try('AFTER INSERT ON %s FOR EACH ROW', '''ai_chat'', ''userId'''), '^MB005', 'not in the plan');
SELECT is(fixture.counters('ut', 'ai_chat'), NULL, 'which writes nothing');
-- Wrong use.
SELECT matches(pg_temp.try('AFTER INSERT ON %s FOR EACH STATEMENT', '''auto_tags'', ''userId'''), '^39P01', 'FOR EACH STATEMENT');
SELECT matches(pg_temp.try('BEFORE INSERT ON %s FOR EACH STATEMENT', '''auto_tags'', ''userId'''), '^39P01', 'BEFORE, FOR EACH STATEMENT');
SELECT matches(pg_temp.try(timing || ' UPDATE ON %s FOR EACH ROW', '''auto_tags'', ''userId''', 'INSERT INTO public.tried VALUES (1, ''ut''); UPDATE public.tried SET id = 2'), '^39P01', timing || ' UPDATE')
	FROM unnest('{BEFORE,AFTER}'::text[]) AS timing;
SELECT matches(pg_temp.try(timing || ' DELETE ON %s FOR EACH ROW', '''auto_tags'', ''userId''', 'INSERT INTO public.tried VALUES (1, ''ut''); DELETE FROM public.tried'), '^39P01', timing || ' DELETE')
	FROM unnest('{BEFORE,AFTER}'::text[]) AS timing;
SELECT matches(pg_temp.try('AFTER TRUNCATE ON %s', '''auto_tags'', ''userId''', 'TRUNCATE public.tried'), '^39P01', 'TRUNCATE');
SELECT matches(pg_temp.try('AFTER INSERT OR UPDATE ON %s FOR EACH ROW', '''auto_tags'', ''userId''', 'INSERT INTO public.tried VALUES (1, ''ut''); UPDATE public.tried SET id = 2'), '^39P01', 'INSERT OR UPDATE, when it updates');
CREATE VIEW public.board_view AS SELECT id, "userId" FROM public.board;
CREATE TRIGGER quota INSTEAD OF INSERT ON public.board_view FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('auto_tags', 'userId');
SELECT throws_ok($$INSERT INTO public.board_view VALUES ('v1', 'ut')$$, '39P01', NULL, 'INSTEAD OF');
SELECT throws_ok('SELECT momento_billing.enforce_quota()', '39P01', NULL, 'no trigger at all');
SELECT matches(pg_temp.try('AFTER INSERT ON %s FOR EACH ROW', arguments), '^22023', 'arguments: ' || arguments)
	FROM unnest(ARRAY['', '''auto_tags''', '''auto_tags'', ''userId'', ''x''', '''teleport'', ''userId''', ''''', ''userId''']) AS arguments;
SELECT matches(pg_temp.try('AFTER INSERT ON %s FOR EACH ROW', arguments), '^42703', 'arguments: ' || arguments)
	FROM unnest(ARRAY['''auto_tags'', ''nobody''', '''auto_tags'', ''userid''', '''auto_tags'', ''''', '''auto_tags'', ''ctid''', '''auto_tags'', ''tableoid''', '''userId'', ''auto_tags''']) AS arguments;
SELECT matches(pg_temp.try('AFTER INSERT ON %s FOR EACH ROW', '''teleport'', ''userId'''), 'unknown feature "teleport"', 'the message names an unknown feature');
SELECT matches(pg_temp.try('AFTER INSERT ON %s FOR EACH ROW', '''auto_tags'', ''nobody'''), '"nobody"', 'and a missing column');
SELECT is(fixture.counters('ut', 'auto_tags'), NULL, 'none of these used anything');

-- The column that the trigger names is found anew after a change of its table.
ALTER TABLE public.board RENAME COLUMN title TO heading;
ALTER TABLE public.board ADD COLUMN first int, DROP COLUMN heading;
INSERT INTO public.board VALUES ('h1', 'uh', 5);
SELECT is(fixture.counters('uh', 'brainstorm_expand'), '1+0', 'other columns come and go');
ALTER TABLE public.board RENAME COLUMN "userId" TO owner;
SELECT matches(fixture.error($$INSERT INTO public.board VALUES ('h2', 'uh')$$), '^42703 .*"userId"', 'its own goes');
ALTER TABLE public.board RENAME COLUMN owner TO "userId";

-- The fallback answers alike.
SET LOCAL momento_billing.force_spi = on;
INSERT INTO public.board SELECT 's' || n, 'us' FROM generate_series(1, 10) AS n;
SELECT is(fixture.counters('us', 'brainstorm_expand'), '10+0', 'fallback: counted');
SELECT throws_ok($$INSERT INTO public.board VALUES ('s11', 'us')$$, 'MB005', NULL, 'fallback: refused');
SET LOCAL momento_billing.force_spi = off;
-- Users that are numbers in the app's table, texts here.
DELETE FROM public."Subscription";
ALTER TABLE public."Subscription" ALTER "userId" TYPE int USING NULL;
INSERT INTO public.board VALUES ('n1', '042'), ('n2', '42');
INSERT INTO public.varied (id, number) VALUES (6, 43);
SELECT is(fixture.counters('42', 'brainstorm_expand'), '2+0', 'one user, however the id is written');
SELECT is(fixture.counters('43', 'auto_tags'), '1+0', 'number to number');
SELECT matches(fixture.error($$INSERT INTO public.board VALUES ('n3', 'abc')$$), '^22023 invalid user id "abc"', 'what is no number');
SELECT * FROM finish();
ROLLBACK;
