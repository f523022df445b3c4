-- From the events of subscriptions to a user's row.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS momento_billing;
\ir ../fixtures/sql/helpers.sql
SELECT no_plan();
SELECT fixture.set_up();
-- Days from now, and the same as Stripe's whole seconds.
CREATE FUNCTION pg_temp.day(n numeric) RETURNS timestamptz LANGUAGE sql STABLE AS $$SELECT date_trunc('second', now()) + n * interval '1 day'$$;
-- An event of a user's subscription: everything is named after the user.
CREATE FUNCTION pg_temp.event(u text, id text, created numeric, status text, starts numeric DEFAULT -10, ends numeric DEFAULT 20,
		type text DEFAULT 'updated', previous jsonb DEFAULT NULL, extra jsonb DEFAULT '{}', price text DEFAULT 'price_pro_month',
		subscription text DEFAULT NULL, shape text DEFAULT 'basil') RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('customer.subscription.' || type, 'evt_' || u || '_' || id, pg_temp.day(created),
		fixture.subscription(coalesce(subscription, 'sub_' || u), status, customer => 'cus_' || u, user_id => u, price => price,
			starts => pg_temp.day(starts), ends => pg_temp.day(ends), extra => extra, shape => shape), previous)
$$;
CREATE FUNCTION pg_temp.failed(u text, id text, created numeric, starts numeric, ends numeric, extra jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT fixture.sync('invoice.payment_failed', 'evt_' || u || '_' || id, pg_temp.day(created), fixture.invoice('in_' || u, 'sub_' || u,
		customer => 'cus_' || u, starts => pg_temp.day(starts), ends => pg_temp.day(ends), extra => extra))
$$;
CREATE FUNCTION pg_temp.tier(u text, n numeric) RETURNS text LANGUAGE sql AS $$SELECT momento_billing.effective_tier(u, pg_temp.day(n))$$;

-- Order.
SELECT is(pg_temp.event('order', '1', -5, 'active'), 'applied', 'the first event');
SELECT is(fixture.app_row('order'), 'PRO ACTIVE sub_order', 'makes the row');
SELECT is(fixture.period_end('order'), pg_temp.day(20), 'with its period');
SELECT is(pg_temp.event('order', '1', -5, 'canceled'), 'duplicate', 'R24: the same id again, whatever it says');
SELECT is(pg_temp.event('order', '2', -6, 'past_due'), 'stale older_than_state', 'R20: an older event');
SELECT is(fixture.app_row('order'), 'PRO ACTIVE sub_order', 'R20: changes nothing');
SELECT is(pg_temp.event('order', '3', -4, 'active'), 'unchanged', 'a newer event that says nothing new');
SELECT is(pg_temp.event('order', '4', -5, 'past_due'), 'stale older_than_state', 'R20: its time counts all the same');
SELECT is(fixture.inbox('evt_order_4'), 'processed older_than_state', 'R34: which is a success');

-- Created and updated in one second.
SELECT is(pg_temp.event('tie', '1', -5, 'active', type => 'updated'), 'applied', 'R19: updated arrives first');
SELECT is(pg_temp.event('tie', '2', -5, 'incomplete', type => 'created'), 'stale older_than_state', 'R19: then created, of the same second');
SELECT is(fixture.app_row('tie'), 'PRO ACTIVE sub_tie', 'R21: created < updated, incomplete loses');
SELECT is(pg_temp.event('tie', '0', -5, 'canceled', type => 'deleted'), 'applied', 'R21: updated < deleted');

-- incomplete.
SELECT is(pg_temp.event('inc', '1', -5, 'incomplete', type => 'created'), 'applied', 'R13: not paid yet');
SELECT is(fixture.app_row('inc'), 'PRO INACTIVE sub_inc', 'R13: INACTIVE');
SELECT is(momento_billing.effective_tier('inc'), 'BASIC', 'R13: no access');
SELECT is(pg_temp.event('inc', '2', -4, 'active'), 'applied', 'R13: paid');
SELECT is(pg_temp.event('inc', '3', -4.5, 'incomplete'), 'stale older_than_state', 'R13: a late incomplete replaces nothing');
SELECT is(momento_billing.effective_tier('inc'), 'PRO', 'R13: access stays');

-- Terminal states.
SELECT is(pg_temp.event('end', '1', -5, 'active'), 'applied', 'active');
SELECT is(pg_temp.event('end', '2', -4, 'canceled', type => 'deleted', extra => jsonb_build_object('ended_at', fixture.unix(pg_temp.day(-4)))), 'applied', 'R15: immediate cancel');
SELECT is(fixture.app_row('end'), 'PRO CANCELED sub_end', 'R15: CANCELED');
SELECT is(fixture.period_end('end'), pg_temp.day(20), 'R15: the paid period stands');
SELECT is(pg_temp.tier('end', 19.9), 'PRO', 'and gives access until its end');
SELECT is(pg_temp.tier('end', 20), 'BASIC', 'not at it');
SELECT is(pg_temp.event('end', '3', -3, 'active'), 'stale older_than_state', 'R15: canceled is never left');
SELECT is(fixture.app_row('end'), 'PRO CANCELED sub_end', 'R15: whatever comes later');
SELECT is(pg_temp.event('disputed', '1', -5, 'active'), 'applied', 'active');
SELECT is(pg_temp.event('disputed', '2', -4, 'canceled', type => 'deleted',
	extra => jsonb_build_object('ended_at', fixture.unix(pg_temp.day(-4)), 'cancellation_details', '{"reason": "payment_disputed"}'::jsonb)), 'applied', 'disputed');
SELECT is(momento_billing.effective_tier('disputed'), 'BASIC', 'a dispute ends access at ended_at');

-- Planned cancels, and un-canceled.
SELECT is(pg_temp.event('plan', '1', -5, 'active', extra => '{"cancel_at_period_end": true}'), 'applied', 'R16: at the period''s end');
SELECT is(fixture.app_row('plan'), 'PRO ACTIVE sub_plan canceling', 'R16: is still active');
SELECT is(pg_temp.event('plan', '2', -4, 'active'), 'applied', 'R16: un-canceled');
SELECT is(fixture.app_row('plan'), 'PRO ACTIVE sub_plan', 'R16: is seen');
SELECT is(pg_temp.event('plan', '3', -3, 'active', extra => jsonb_build_object('cancel_at', fixture.unix(pg_temp.day(20)))), 'applied', 'R16: flexible billing: cancel_at alone');
SELECT is(fixture.app_row('plan'), 'PRO ACTIVE sub_plan canceling', 'R16: is planned as well');
SELECT is(pg_temp.event('plan', '4', -2, 'active'), 'applied', 'R16: both cleared');
SELECT is(fixture.app_row('plan'), 'PRO ACTIVE sub_plan', 'R16: un-canceled');

-- past_due, recovery, unpaid.
SELECT is(pg_temp.event('due', '1', -40, 'active', -40, -10), 'applied', 'a month is paid');
SELECT is(pg_temp.event('due', '2', -10, 'active', -10, 20, previous => '{"current_period_end": 1}'), 'applied', 'R14: the next one begins');
SELECT is(pg_temp.event('due', '3', -9.9, 'past_due', -10, 20, previous => '{"status": "active"}'), 'applied', 'R14: and is not paid');
SELECT is(fixture.app_row('due'), 'PRO PAST_DUE sub_due', 'PAST_DUE');
SELECT is(pg_temp.tier('due', 0), 'PRO', 'access until the period''s end, as the guide says');
SELECT is(pg_temp.tier('due', 20), 'BASIC', 'not at it');
SELECT is(pg_temp.event('due', '4', -5, 'active', -10, 20), 'applied', 'recovered');
SELECT is(fixture.app_row('due'), 'PRO ACTIVE sub_due', 'ACTIVE');
SELECT is(pg_temp.tier('due', 100), 'PRO', 'without a known end');
SELECT is(pg_temp.event('due', '5', -4, 'past_due', -10, 20, previous => '{"status": "active"}'), 'applied', 'due again');
SELECT is(pg_temp.event('due', '6', -3, 'unpaid', -3, 27, previous => '{"status": "past_due"}'), 'applied', 'R14: given up');
SELECT is(fixture.app_row('due'), 'PRO CANCELED sub_due', 'unpaid is CANCELED');
SELECT is(fixture.period_end('due'), pg_temp.day(-10), 'R14: paid through the last paid period, though the period rolls on');
SELECT is(momento_billing.effective_tier('due'), 'BASIC', 'R14: so access ends');
SELECT is(pg_temp.event('due', '7', -2, 'active', -3, 27), 'applied', 'R14: unpaid to active is legal');
SELECT is(fixture.app_row('due'), 'PRO ACTIVE sub_due', 'R14: ACTIVE again');

-- Canceled for want of payment, never seen live since.
SELECT is(pg_temp.event('gone', '1', -1, 'canceled', -10, 20, type => 'deleted', extra => '{"cancellation_details": {"reason": "payment_failed"}}'), 'applied', 'only the end was seen');
SELECT is(fixture.period_end('gone'), pg_temp.day(-10), 'R14: that period was never paid');

-- paused; trial; a status to come.
SELECT is(pg_temp.event('pause', '1', -5, 'trialing', -5, 2), 'applied', 'trial');
SELECT is(fixture.app_row('pause'), 'PRO TRIALING sub_pause', 'TRIALING');
SELECT is(pg_temp.event('pause', '2', -4, 'paused', -5, 2, previous => '{"status": "trialing"}'), 'applied', 'R17: no payment method');
SELECT is(fixture.app_row('pause'), 'PRO INACTIVE sub_pause', 'R17: INACTIVE');
SELECT is(momento_billing.effective_tier('pause'), 'BASIC', 'R17: no access');
SELECT is(pg_temp.event('pause', '3', -3, 'active', -3, 27, extra => '{"pause_collection": {"behavior": "void"}}'), 'applied', 'R17: pause_collection leaves the status');
SELECT is(momento_billing.effective_tier('pause'), 'PRO', 'R17: and the access');
SELECT is(pg_temp.event('pause', '4', -2, 'frozen'), 'stale unknown_status', 'R12: a ninth status');
SELECT is(fixture.app_row('pause'), 'PRO ACTIVE sub_pause', 'R12: the row stays');
SELECT is(fixture.inbox('evt_pause_4'), 'processed unknown_status', 'R12: the event is kept, with the reason');
SELECT is(pg_temp.event('trial', '1', -5, 'trialing', -5, 2), 'applied', 'trial');
SELECT is(pg_temp.event('trial', '2', -4, 'canceled', -5, 2, type => 'deleted'), 'applied', 'R18: canceled during it');
SELECT is(fixture.period_end('trial'), pg_temp.day(2), 'R18: access until the trial''s end');

-- Prices, items and periods.
SELECT is(pg_temp.event('price', '1', -5, 'active', price => 'price_business_year'), 'applied', 'a known price');
SELECT is(pg_temp.event('price', '2', -4, 'active', price => 'price_of_another_product'), 'applied unknown_price', 'R29: an unknown one');
SELECT is(fixture.app_row('price'), 'BUSINESS ACTIVE sub_price', 'R29: is no downgrade');
SELECT is(pg_temp.event('newprice', '1', -4, 'active', price => 'price_of_another_product'), 'applied unknown_price', 'R29: on a new subscription');
SELECT is(fixture.app_row('newprice'), 'BASIC ACTIVE sub_newprice', 'rule 6: it gets the default tier');
SELECT is(pg_temp.event('price', '3', -3, 'active', extra => jsonb_build_object('items', '{"data": [{"price": "price_pro_month"}]}'::jsonb)), 'applied', 'R6: a price that is a string');
SELECT is(fixture.app_row('price'), 'PRO ACTIVE sub_price', 'R6: is a price');
SELECT is(fixture.period_end('price'), pg_temp.day(20), 'R4: an event without a period leaves the stored one');
SELECT is(pg_temp.event('price', '4', -2, 'active', extra => '{"items": {"data": [{"plan": {"id": "price_business_month"}}]}}'), 'applied', 'R6: a legacy plan');
SELECT is(fixture.app_row('price'), 'BUSINESS ACTIVE sub_price', 'R6: is a price');
SELECT is(pg_temp.event('price', '5', -1, 'active', extra => '{"items": null, "plan": {"id": "price_pro_year"}}'), 'applied', 'R6: on the subscription itself');
SELECT is(fixture.app_row('price'), 'PRO ACTIVE sub_price', 'R6: is a price');
SELECT is(pg_temp.event('items', '1', -5, 'active', extra => jsonb_build_object('items', jsonb_build_object('data', jsonb_build_array(
	jsonb_build_object('price', 'price_addon', 'current_period_start', fixture.unix(pg_temp.day(-5)), 'current_period_end', fixture.unix(pg_temp.day(360))),
	jsonb_build_object('price', 'price_pro_month', 'current_period_start', fixture.unix(pg_temp.day(-5)), 'current_period_end', fixture.unix(pg_temp.day(25))))))),
	'applied', 'R3: a monthly tier and a yearly add-on');
SELECT is(fixture.period_end('items'), pg_temp.day(25), 'R3: the monthly end');
SELECT is(pg_temp.event('items', '2', -4, 'active', shape => 'acacia', ends => 26), 'applied', 'R2: up to acacia');
SELECT is(fixture.period_end('items'), pg_temp.day(26), 'R2: the period of the subscription itself');

-- A renewal that fails.
SELECT is(pg_temp.event('fail', '1', -40, 'active', -40, -10), 'applied', 'a month is paid');
SELECT is(pg_temp.event('fail', '2', -10, 'active', -10, 20), 'applied', 'R14: the next one begins');
SELECT is(pg_temp.failed('fail', '3', -11, -40, -10), 'stale older_than_state', 'R31: a failure older than the state');
SELECT is(fixture.app_row('fail'), 'PRO ACTIVE sub_fail', 'R31: changes nothing');
SELECT is(pg_temp.failed('fail', '4', -9.9, -10, 20), 'applied', 'R31: the charge fails');
SELECT is(fixture.app_row('fail'), 'PRO PAST_DUE sub_fail', 'rule 4: PAST_DUE before the subscription''s own event');
SELECT is(fixture.period_end('fail'), pg_temp.day(20), 'R10: with the period of the invoice''s line');
SELECT is(momento_billing.effective_tier('fail'), 'PRO', 'rule 4: access does not flicker');
SELECT is(pg_temp.failed('fail', '5', -9.8, -10, 20, '{"billing_reason": "subscription_create"}'), 'ignored not_a_renewal', 'R31: a first payment');
SELECT is(pg_temp.failed('fail', '6', -9.8, -10, 20, '{"billing_reason": "subscription_update"}'), 'ignored not_a_renewal', 'R31: a change of plan');
SELECT is(pg_temp.failed('fail', '7', -9.8, -10, 20, '{"billing_reason": "manual"}'), 'ignored not_a_renewal', 'R31: by hand');
SELECT is(pg_temp.failed('fail', '8', -9.8, -10, 20, '{"collection_method": "send_invoice"}'), 'ignored not_charged_automatically', 'R31: an invoice that is sent');
SELECT is(pg_temp.failed('fail', '9', -9.8, -10, 20, '{"parent": null}'), 'ignored no_subscription', 'R8: an invoice of no subscription');
SELECT is(pg_temp.event('fail', '10', -5, 'active', -10, 20), 'applied', 'recovered');
SELECT is(fixture.app_row('fail'), 'PRO ACTIVE sub_fail', 'a newer state outlives the failure');
SELECT is(pg_temp.event('fail', '11', -4, 'canceled', -10, 20, type => 'deleted'), 'applied', 'canceled');
SELECT isnt(pg_temp.failed('fail', '12', -3, 20, 50), 'applied', 'R31: a failure after the end');
SELECT is(fixture.app_row('fail'), 'PRO CANCELED sub_fail', 'R31: changes nothing');
SELECT is(fixture.period_end('fail'), pg_temp.day(20), 'R31: not even the period');

-- What a checkout promises.
SELECT is(fixture.sync('checkout.session.completed', 'evt_promise_1', pg_temp.day(-5), fixture.checkout('cs_1', 'sub_promise', customer => 'cus_promise',
	extra => '{"metadata": {"userId": "promise", "tier": "BUSINESS"}}')), 'applied', 'R30: a checkout that names a tier');
SELECT is(fixture.app_row('promise'), 'BUSINESS ACTIVE sub_promise', 'rule 3: gives it at once');
SELECT is(momento_billing.effective_tier('promise'), 'BUSINESS', 'rule 3: with access');
SELECT is(pg_temp.event('promise', '2', -5.1, 'incomplete', type => 'created'), 'stale older_than_state', 'rule 3: incomplete does not take it back');
SELECT is(pg_temp.event('promise', '3', -5.05, 'active'), 'applied', 'rule 3: any other event of the subscription does, even an older one');
SELECT is(fixture.app_row('promise'), 'PRO ACTIVE sub_promise', 'rule 3: it knows better');
SELECT is(fixture.sync('checkout.session.completed', 'evt_promise_4', pg_temp.day(-5), fixture.checkout('cs_2', 'sub_promise2', customer => 'cus_promise2',
	extra => '{"metadata": {"userId": "promise2", "priceId": "price_business_year"}}')), 'applied', 'R30: a checkout that names a price');
SELECT is(fixture.app_row('promise2'), 'BUSINESS ACTIVE sub_promise2', 'rule 3: gives its tier');
SELECT is(fixture.sync('checkout.session.completed', 'evt_promise_5', pg_temp.day(-5), fixture.checkout('cs_3', 'sub_promise3', customer => 'cus_promise3',
	extra => '{"payment_status": "no_payment_required", "metadata": {"userId": "promise3", "tier": "PRO"}}')), 'applied', 'R30: a trial needs no payment');
SELECT is(fixture.sync('checkout.session.completed', 'evt_promise_6', pg_temp.day(-5), fixture.checkout('cs_4', 'sub_promise4', customer => 'cus_promise4',
	extra => '{"payment_status": "unpaid", "metadata": {"userId": "promise4", "tier": "PRO"}}')), 'ignored not_paid', 'R30: not paid yet');
SELECT is(fixture.sync('checkout.session.completed', 'evt_promise_7', pg_temp.day(-5), fixture.checkout('cs_5', NULL, customer => 'cus_promise4',
	extra => '{"mode": "payment"}')), 'ignored no_subscription', 'R30: a purchase of something else');

-- Two subscriptions of one user (R28).
SELECT is(pg_temp.event('two', '1', -20, 'active', -20, 10, price => 'price_business_month', subscription => 'sub_two_old'), 'applied', 'BUSINESS');
SELECT is(pg_temp.event('two', '2', -2, 'canceled', -20, 10, type => 'deleted', price => 'price_business_month', subscription => 'sub_two_old'), 'applied', 'canceled, paid until day 10');
SELECT is(pg_temp.event('two', '3', -1, 'active', -1, 29, subscription => 'sub_two_new'), 'applied', 'R28: then PRO');
SELECT is(fixture.app_row('two'), 'PRO ACTIVE sub_two_new', 'the row shows what the user manages');
SELECT is(momento_billing.effective_tier('two'), 'BUSINESS', 'the tier is the highest of all');
SELECT is(pg_temp.tier('two', 9.9), 'BUSINESS', 'until it ends');
SELECT is(pg_temp.tier('two', 10), 'PRO', 'by itself');
SELECT is((SELECT concat_ws(' ', source, ref, tier, fixture.unix(valid_until)) FROM momento_billing.other_access WHERE user_id = 'two'),
	'subscription sub_two_old BUSINESS ' || fixture.unix(pg_temp.day(10)), 'the other candidate is kept beside the row');
SELECT is(pg_temp.event('two', '4', -1.5, 'active', -20, 10, subscription => 'sub_two_old'), 'stale older_than_state', 'R28: a late event of the old one');
SELECT is(fixture.app_row('two'), 'PRO ACTIVE sub_two_new', 'R28: does not touch the new plan');
SELECT is(pg_temp.event('two', '5', -0.5, 'incomplete_expired', price => 'price_business_month', subscription => 'sub_two_tried'), 'applied', 'R13: a third that was never paid');
SELECT is(fixture.app_row('two'), 'PRO ACTIVE sub_two_new', 'R13: touches none');
SELECT is((SELECT count(*) FROM momento_billing.other_access WHERE user_id = 'two'), 1::bigint, 'R13: and gives nothing');
SELECT is(pg_temp.event('two', '6', -0.4, 'active', -0.4, 29, price => 'price_business_year', subscription => 'sub_two_live'), 'applied', 'two live ones');
SELECT is(fixture.app_row('two'), 'BUSINESS ACTIVE sub_two_live', 'rule 1: the higher tier is shown');
SELECT is(pg_temp.event('two', '7', -0.3, 'canceled', -0.4, -0.3, type => 'deleted', price => 'price_business_year', subscription => 'sub_two_live'), 'applied', 'which ends');
SELECT is(fixture.app_row('two'), 'PRO ACTIVE sub_two_new', 'rule 1: the live one is shown again');
-- All statuses, as table (R12); what each gives.
SELECT is(pg_temp.event('st_' || s, '1', -5, s), 'applied', 'R12: ' || s)
	FROM unnest('{incomplete,incomplete_expired,trialing,active,past_due,canceled,unpaid,paused}'::text[]) AS s;
SELECT is(fixture.app_row('st_' || s) || ' ' || momento_billing.effective_tier('st_' || s), format('PRO %s sub_st_%s %s', shown, s, tier), format('R12: %s is %s', s, shown))
	FROM (VALUES ('incomplete', 'INACTIVE', 'BASIC'), ('incomplete_expired', 'INACTIVE', 'BASIC'), ('trialing', 'TRIALING', 'PRO'), ('active', 'ACTIVE', 'PRO'),
		('past_due', 'PAST_DUE', 'PRO'), ('canceled', 'CANCELED', 'PRO'), ('unpaid', 'CANCELED', 'BASIC'), ('paused', 'INACTIVE', 'BASIC')) AS v (s, shown, tier);

-- The other types of events of a subscription.
SELECT is(pg_temp.event('types', '1', -9, 'trialing', -10, -5), 'applied', 'a trial');
SELECT is(pg_temp.event('types', '2', -8, 'active', -10, -5, type => 'trial_will_end'), 'ignored announcement', 'R17: trial_will_end says what will happen');
SELECT is(fixture.app_row('types'), 'PRO TRIALING sub_types', 'R17: and not what happened');
SELECT is(pg_temp.event('types', '3', -5, 'paused', -10, -5, type => 'paused', previous => '{"status": "trialing"}'), 'applied', 'R17: .paused carries a whole subscription');
SELECT is(fixture.app_row('types'), 'PRO INACTIVE sub_types', 'R17: INACTIVE');
SELECT is(pg_temp.event('types', '4', -4, 'active', -4, 26, type => 'resumed', previous => '{"status": "paused"}', price => 'price_business_month'), 'applied', 'R17: and so does .resumed');
SELECT is(fixture.app_row('types'), 'BUSINESS ACTIVE sub_types', 'R17: ACTIVE, with the price in it');
SELECT is(pg_temp.event('types', '5', -3, 'active', -4, 26, type => 'pending_update_applied'), 'applied', 'a pending update that was applied');
SELECT is(fixture.app_row('types'), 'PRO ACTIVE sub_types', 'is an update');
SELECT is(pg_temp.event('types', '6', -2, 'active', -4, 26, type => 'pending_update_expired'), 'unchanged', 'one that expired');
SELECT is(pg_temp.event('types', '7', -1, 'active', -4, 26, type => 'invented_later', price => 'price_business_month'), 'applied', 'and any that will come');
SELECT is(pg_temp.event('types', '8', -1, 'canceled', -4, 26, type => 'deleted'), 'applied', 'R21: in their second deleted is later');
SELECT is(fixture.sync(type, 'evt_types_' || type, pg_temp.day(0), fixture.invoice('in_types', 'sub_types', customer => 'cus_types')), 'ignored redundant', 'R32: ' || type)
	FROM unnest('{invoice.paid,invoice.payment_succeeded}'::text[]) AS type;
SELECT is(fixture.app_row('types'), 'PRO CANCELED sub_types', 'R32: changes nothing');

-- Payments that take days (R30).
SELECT is(fixture.sync('checkout.session.completed', 'evt_async_1', pg_temp.day(-5), fixture.checkout('cs_async', 'sub_async', customer => 'cus_async',
	extra => '{"payment_status": "unpaid", "metadata": {"userId": "async", "tier": "PRO"}}')), 'ignored not_paid', 'R30: a debit that is not settled');
SELECT is(fixture.sync('checkout.session.async_payment_failed', 'evt_async_2', pg_temp.day(-4), fixture.checkout('cs_async', 'sub_async', customer => 'cus_async',
	extra => '{"payment_status": "unpaid", "metadata": {"userId": "async", "tier": "PRO"}}')), 'ignored not_paid', 'R30: fails');
SELECT is(fixture.app_row('async'), NULL, 'R30: and gives nothing');
SELECT is(fixture.sync('checkout.session.async_payment_succeeded', 'evt_async_3', pg_temp.day(-3), fixture.checkout('cs_async', 'sub_async', customer => 'cus_async',
	extra => '{"metadata": {"userId": "async", "tier": "PRO"}}')), 'applied', 'R30: one that succeeds');
SELECT is(fixture.app_row('async'), 'PRO ACTIVE sub_async', 'R30: is a paid checkout');

-- Which line of an invoice was to be paid: the price says so (R9).
CREATE FUNCTION pg_temp.lines(price jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('lines', jsonb_build_object('data', jsonb_build_array(
		jsonb_build_object('period', jsonb_build_object('start', fixture.unix(pg_temp.day(-10)), 'end', fixture.unix(pg_temp.day(355))), 'price', jsonb_build_object('id', 'price_addon')),
		jsonb_build_object('period', jsonb_build_object('start', fixture.unix(pg_temp.day(-5)), 'end', fixture.unix(pg_temp.day(25)))) || price)))
$$;
SELECT is(pg_temp.event('line_' || n, '1', -20, 'active', -40, -10), 'applied', 'a month is paid') FROM generate_series(1, 4) AS n;
SELECT is(pg_temp.failed('line_' || n, '2', -5, -10, 20, pg_temp.lines(price)), 'applied', 'R9: the charge of an invoice fails whose line has ' || price::text)
	FROM (VALUES (1, '{"pricing": {"price_details": {"price": "price_pro_month"}}}'::jsonb), (2, '{"price": {"id": "price_pro_month"}}'), (3, '{"plan": {"id": "price_pro_month"}}'),
		(4, '{"pricing": {"price_details": {"price": "price_other"}}}')) AS v (n, price);
SELECT is(fixture.period_end('line_' || n), pg_temp.day(CASE n WHEN 4 THEN 355 ELSE 25 END), CASE n WHEN 4 THEN 'R10: no price is known: the widest period' ELSE 'R9: the period of the plan''s line' END)
	FROM generate_series(1, 4) AS n;

-- A column without a time zone holds UTC.
SET LOCAL timezone = 'Pacific/Kiritimati';
SELECT is(pg_temp.event('zone', '1', -1, 'active', -10, 20), 'applied', 'R43: an event, in a session far in the east');
SELECT is((SELECT "currentPeriodStart" || ' ' || "currentPeriodEnd" FROM public."Subscription" WHERE "userId" = 'zone'),
	(pg_temp.day(-10) AT TIME ZONE 'UTC') || ' ' || (pg_temp.day(20) AT TIME ZONE 'UTC'), 'R43: the row has UTC');
SELECT ok((SELECT abs(extract(epoch FROM "updatedAt" - clock_timestamp() AT TIME ZONE 'UTC')) < 60 AND abs(extract(epoch FROM "createdAt" - clock_timestamp() AT TIME ZONE 'UTC')) < 60
	FROM public."Subscription" WHERE "userId" = 'zone'), 'R43: and so have the times of its making');
SET LOCAL timezone = 'Pacific/Pago_Pago';
SELECT is(pg_temp.event('zone', '2', -0.5, 'past_due', -10, 20), 'applied', 'R43: another one, in the west');
SELECT is(fixture.period_end('zone'), pg_temp.day(20), 'R43: the same');
SET LOCAL timezone = 'UTC';
SELECT * FROM finish();
ROLLBACK;
