// Drains events as a program: told by lines what to do, it answers each with
// the CPU time that it took, in ns.
//
//   node drain.js engine|indexed-engine|graphile WEBHOOK_SECRET
//
//   load SEQUENCE EVENTS USERS     what is not measured
//   drain                          what is
//
// PGHOST and the like say where PostgreSQL is. Connections that are not called
// "loader" work for what is measured.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import pg from 'pg'

const [way, secret] = process.argv.slice(2)

// Connections that stay, so that their CPU time can be read.
const poolOptions = { max: 10, idleTimeoutMillis: 0 }
const loader = new pg.Pool({ max: 1, idleTimeoutMillis: 0, application_name: 'loader' })

// processWebhook() of Supabase's engine, ten at once. For each event it looks
// for its subscription's items, and has no index for that; it may be given one.
async function engine(indexed) {
  // its ES module does not find its migrations
  const { StripeSync, runMigrations } = createRequire(import.meta.url)('@supabase/stripe-sync-engine')
  const { default: Stripe } = await import('stripe')
  const { PGHOST, PGUSER, PGDATABASE } = process.env
  const databaseUrl = `postgresql://${PGUSER}@/${PGDATABASE}?host=${encodeURIComponent(PGHOST)}`
  const logger = { ...console, info() {}, log() {} }
  await runMigrations({ schema: 'stripe', databaseUrl, logger })
  if (indexed) {
    await loader.query('CREATE INDEX ON stripe.subscription_items (subscription)')
  }

  const sync = new StripeSync({
    schema: 'stripe', poolConfig: { ...poolOptions, connectionString: databaseUrl },
    stripeSecretKey: 'sk_test_none', stripeWebhookSecret: secret, logger,
  })
  const stripe = new Stripe('sk_test_none')
  let webhooks = []

  const drain = async () => {
    let next = 0
    const caller = async () => {
      while (next < webhooks.length) {
        const { payload, signature } = webhooks[next++]
        await sync.processWebhook(payload, signature)
      }
    }
    await Promise.all(Array.from({ length: poolOptions.max }, caller))
  }
  // Every user's rows, as copies of one event's.
  const makeRows = async (users) => {
    await drain()
    await loader.query(`
      INSERT INTO stripe.subscriptions
      SELECT c.* FROM (SELECT to_jsonb(s) AS row FROM stripe.subscriptions AS s LIMIT 1) AS s, generate_series(1, $1::int) AS n,
        jsonb_populate_record(NULL::stripe.subscriptions, row || jsonb_build_object('id', 'sub_' || substr(md5('s' || n), 1, 20))) AS c
      ON CONFLICT DO NOTHING`, [users])
    await loader.query(`
      INSERT INTO stripe.subscription_items
      SELECT c.* FROM (SELECT to_jsonb(s) AS row FROM stripe.subscription_items AS s LIMIT 1) AS s, generate_series(1, $1::int) AS n,
        jsonb_populate_record(NULL::stripe.subscription_items, row || jsonb_build_object('id', 'si_' || substr(md5('i' || n), 1, 14),
          'subscription', 'sub_' || substr(md5('s' || n), 1, 20))) AS c
      ON CONFLICT DO NOTHING`, [users])
    await loader.query('VACUUM ANALYZE stripe.subscriptions, stripe.subscription_items')
  }
  let rowsAreMade = false

  const load = async (sequence, events, users) => {
    const { rows } = await loader.query('SELECT body FROM bench.events($1, $2, $3) AS body', [sequence, events, users])
    webhooks = rows.map(({ body }) => ({
      payload: body, signature: stripe.webhooks.generateTestHeaderString({ payload: body, secret }),
    }))
    if (!rowsAreMade) {
      rowsAreMade = true
      await makeRows(users)
    }
  }
  return { load, drain }
}

// Graphile Worker with a task that does nothing; a job is an event's number.
async function graphile() {
  const { Logger, makeWorkerUtils, runOnce } = await import('graphile-worker')
  const pgPool = new pg.Pool(poolOptions)
  const logger = new Logger(() => () => {})
  for (const pool of [loader, pgPool]) pool.on('error', (error) => { throw error }).on('connect', (client) => client.on('error', () => {}))
  const utils = await makeWorkerUtils({ pgPool: loader, logger })
  await utils.migrate()

  // all connections are there before the first is measured
  const clients = await Promise.all(Array.from({ length: poolOptions.max }, () => pgPool.connect()))
  clients.forEach((client) => client.release())

  let done = 0
  const options = {
    pgPool, logger, taskList: { event: () => { done++ } }, noHandleSignals: true,
    preset: { worker: { concurrentJobs: 24, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
  }
  const load = async (sequence, events) => {
    await loader.query('VACUUM ANALYZE graphile_worker._private_jobs')
    await loader.query(`
      SELECT count(*) FROM graphile_worker.add_jobs((
        SELECT array_agg(json_populate_record(NULL::graphile_worker.job_spec,
          json_build_object('identifier', 'event', 'payload', json_build_object('event', n))))
        FROM generate_series($1::bigint + 1, $1::bigint + $2::int) AS n))`, [sequence, events])
    done = -events
  }
  const drain = async () => {
    await runOnce(options)
    if (done !== 0) {
      throw new Error(`${-done} jobs were not done`)
    }
  }
  return { load, drain }
}

const { load, drain } = await (way === 'graphile' ? graphile() : engine(way === 'indexed-engine'))
for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...numbers] = line.split(' ')
  const before = process.cpuUsage()
  await (what === 'load' ? load(...numbers.map(Number)) : drain())
  const { user, system } = process.cpuUsage(before)
  console.log((user + system) * 1000)
}
process.exit(0)
