// One unit consumed as a Prisma app with Redis does it today, and by
// consume_quota(): blocks of calls over distinct users, alternating. Prints
// calls per second, ours and the rival's, a line per round. The first round
// warms up.
//
//   node measure.js REDIS_SOCKET DRIVER CALLERS CLIENTS ROUNDS CALLS
//
// DRIVER is "prisma", as it comes; "prepared", where it gives statements names
// (statementNameGenerator), so that the server keeps their plans; or "pg",
// where consume_quota() goes through the driver below Prisma, and the rival is
// as with "prepared". The callers share CLIENTS clients of each kind. PGHOST
// and the like say where PostgreSQL is.
import assert from 'node:assert/strict'
import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from '@prisma/client'
import { Redis } from 'ioredis'
import pg from 'pg'

const [path, driver] = process.argv.slice(2)
const [callers, clients, rounds, calls] = process.argv.slice(4).map(Number)
const callsInBlock = 50
const feature = 'semantic_search'
const limits = { BASIC: 30, PRO: 100, BUSINESS: 1000 }
const ninetyDays = 90 * 24 * 60 * 60

// One name for each text of a statement.
const names = new Map()
function statementNameGenerator({ sql }) {
  if (!names.has(sql)) {
    names.set(sql, `s${names.size}`)
  }
  return names.get(sql)
}

const adapterOptions = driver === 'prisma' ? {} : { statementNameGenerator }
const forEachClient = (make) => Array.from({ length: clients }, make)
const prismas = forEachClient(() => new PrismaClient({ adapter: new PrismaPg({ max: callers / clients }, adapterOptions) }))
const pools = forEachClient(() => new pg.Pool({ max: callers / clients }))
const redises = forEachClient(() => new Redis({ path }))

function effectiveTier(row) {
  const counts = row && (['ACTIVE', 'TRIALING'].includes(row.status) ||
    (['PAST_DUE', 'CANCELED'].includes(row.status) && row.currentPeriodEnd > new Date()))
  return counts ? row.tier : 'BASIC'
}

const keyOf = (userId) => `usage:${userId}:${feature}:${new Date().toISOString().slice(0, 7)}`

async function throughRedis(client, userId) {
  const redis = redises[client]
  const row = await prismas[client].subscription.findUnique({
    where: { userId },
    select: { tier: true, status: true, currentPeriodEnd: true },
  })
  const limit = limits[effectiveTier(row)]
  const key = keyOf(userId)
  const used = await redis.incr(key)
  if (used === 1) {
    await redis.expire(key, ninetyDays)
  }
  if (used > limit) {
    await redis.decr(key)
    return false
  }
  return true
}

async function throughPrisma(client, userId) {
  const [answer] = await prismas[client].$queryRaw`
    SELECT allowed, remaining FROM momento_billing.consume_quota(${userId}, ${feature})`
  return answer.allowed
}

async function throughPg(client, userId) {
  const { rows } = await pools[client].query({
    name: 'consume',
    text: 'SELECT allowed, remaining FROM momento_billing.consume_quota($1, $2)',
    values: [userId, feature],
  })
  return rows[0].allowed
}

const users = (await prismas[0].$queryRaw`SELECT user_id FROM bench.asked`).map((row) => row.user_id)

// Every user has a counter on both sides.
for (let i = 0; i < users.length; i += 1000) {
  const pipeline = redises[0].pipeline()
  users.slice(i, i + 1000).forEach((user) => pipeline.set(keyOf(user), 1, 'EX', ninetyDays))
  await pipeline.exec()
}
assert.deepEqual(await redises[0].config('GET', 'appendfsync'), ['appendfsync', 'always'])

// Blocks of calls by all callers; each answers its wall time in seconds.
function blocks(consume, first) {
  let next = first
  const call = async (_, caller) => {
    for (let i = 0; i < callsInBlock; i++) {
      assert.equal(await consume(caller % clients, users[next++ % users.length]), true)
    }
  }
  return async () => {
    const start = process.hrtime.bigint()
    await Promise.all(Array.from({ length: callers }, call))
    return Number(process.hrtime.bigint() - start) / 1e9
  }
}

const ours = blocks(driver === 'pg' ? throughPg : throughPrisma, 0)
const rival = blocks(throughRedis, users.length / 2)
for (let round = -1; round < rounds; round++) {
  let [timeOfOurs, timeOfRival, done] = [0, 0, 0]
  for (; done < calls; done += callsInBlock * callers) {
    timeOfOurs += await ours()
    timeOfRival += await rival()
  }
  if (round >= 0) {
    console.log(`${done / timeOfOurs} ${done / timeOfRival}`)
  }
}
await Promise.all([
  ...prismas.map((prisma) => prisma.$disconnect()),
  ...pools.map((pool) => pool.end()),
  ...redises.map((redis) => redis.quit()),
])
