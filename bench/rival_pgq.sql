-- pgq with a consumer that does nothing: what an append-only queue costs that
-- is read in batches and never updated.

CREATE EXTENSION pgq;
SELECT pgq.create_queue('events'), pgq.register_consumer('events', 'bench');

CREATE SCHEMA queue;
CREATE FUNCTION queue.clear() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION queue.load(sequence bigint, events int, users int, first_user int) RETURNS void LANGUAGE sql AS $$
	SELECT pgq.insert_event('events', 'stripe', body) FROM bench.events($1, $2, $3, $4) AS body
$$;
-- what its daemon does
CREATE FUNCTION queue.loaded() RETURNS void LANGUAGE sql AS $$SELECT pgq.ticker('events')$$;

CREATE FUNCTION queue.drain() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	batch bigint := pgq.next_batch('events', 'bench');
	n bigint;
BEGIN
	IF batch IS NULL THEN
		RETURN 0;
	END IF;
	SELECT count(*) INTO n FROM pgq.get_batch_events(batch);
	PERFORM pgq.finish_batch(batch);
	RETURN n;
END
$$;
