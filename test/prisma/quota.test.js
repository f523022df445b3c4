// What the app counts: consuming, holding, giving back, and a table of its own
// that counts its rows.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, newUserId, rejectsWith } from './app.js'

const prisma = connect({ options: '-c timezone=UTC' })

async function one(query) {
  const [row] = await query
  return row
}

const consume = (userId, feature, amount = 1, key = null, client = prisma) =>
  one(client.$queryRaw`SELECT * FROM momento_billing.consume_quota(${userId}, ${feature}, ${amount}, ${key})`)
const refund = (userId, feature, amount, key) =>
  one(prisma.$queryRaw`SELECT * FROM momento_billing.refund_quota(${userId}, ${feature}, ${amount}, ${key})`)
const reserve = (userId, feature, amount, ttl) =>
  one(prisma.$queryRaw`SELECT * FROM momento_billing.reserve_quota(${userId}, ${feature}, ${amount}, ${ttl}::interval)`)
const commit = (id, actual = null) =>
  one(prisma.$queryRaw`SELECT * FROM momento_billing.commit_reservation(${id}, ${actual})`)
const release = (id) => one(prisma.$queryRaw`SELECT * FROM momento_billing.release_reservation(${id})`)

test('consume_quota: the columns and their types', async () => {
  const userId = newUserId()
  const row = await one(prisma.$queryRaw`SELECT * FROM momento_billing.consume_quota(${userId}, ${'auto_tags'})`)
  const now = new Date()
  assert.deepEqual(row, {
    allowed: true,
    used: 1n,
    held: 0n,
    monthly_limit: 20n,
    remaining: 19n,
    unlimited: false,
    resets_at: new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1)),
    tier: 'BASIC',
    reason: null,
    replayed: false,
  })
})

test('consume_quota: an amount may be a number or a BigInt; a refusal is an answer', async () => {
  const userId = newUserId()
  assert.equal((await consume(userId, 'auto_tags', 15)).used, 15n)
  assert.equal((await consume(userId, 'auto_tags', 5n)).used, 20n)
  const refused = await consume(userId, 'auto_tags')
  assert.equal(refused.allowed, false)
  assert.equal(refused.reason, 'limit_reached')
  assert.equal((await consume(userId, 'ai_chat')).reason, 'not_in_plan')
})

test('consume_quota: a key makes it one call, also of many at once; refund_quota gives it back once', async () => {
  const userId = newUserId()
  const answers = await Promise.all(Array.from({ length: 8 }, () => consume(userId, 'auto_tags', 2, 'request-1')))
  assert.equal(answers.filter((answer) => !answer.replayed).length, 1)
  assert.ok(answers.every((answer) => answer.allowed && answer.used === 2n))
  const refunds = await Promise.all(Array.from({ length: 8 }, () => refund(userId, 'auto_tags', 2, 'request-1')))
  assert.equal(refunds.reduce((sum, answer) => sum + answer.refunded, 0n), 2n)
  assert.ok(refunds.every((answer) => answer.used === 0n))
  await rejectsWith('22023', consume(userId, 'auto_tags', 3, 'request-1'), /other arguments/)
})

test('consume_quota: never more than the limit, whoever asks at once', async () => {
  const userId = newUserId()
  const answers = await Promise.all(Array.from({ length: 40 }, () => consume(userId, 'auto_titles')))
  assert.equal(answers.filter((answer) => answer.allowed).length, 10)
})

test("consume_quota: in the app's transaction, and rolled back with it", async () => {
  const userId = newUserId()
  await assert.rejects(
    prisma.$transaction(async (tx) => {
      assert.equal((await consume(userId, 'auto_tags', 5, null, tx)).used, 5n)
      throw new Error('the work failed')
    }),
    /the work failed/,
  )
  assert.equal((await consume(userId, 'auto_tags')).used, 1n)
})

test('reserve_quota, commit_reservation, release_reservation', async () => {
  const userId = newUserId()
  const hold = await reserve(userId, 'auto_tags', 10, '2 min')
  assert.equal(typeof hold.reservation_id, 'bigint')
  assert.equal(hold.held, 10n)
  assert.ok(hold.expires_at > new Date())
  assert.deepEqual(await commit(hold.reservation_id, 4), { committed: true, amount: 4n, used: 4n, held: 0n, remaining: 16n, reason: null })
  assert.equal((await commit(hold.reservation_id)).reason, 'already_committed')
  const another = await reserve(userId, 'auto_tags', 16, '1 hour')
  assert.equal((await reserve(userId, 'auto_tags', 1, '1 hour')).reservation_id, null)
  assert.deepEqual(await release(another.reservation_id), { released: true, used: 4n, held: 0n, remaining: 16n, reason: null })
  await rejectsWith('22023', commit(null), /must not be null/)
})

test('what JavaScript loses is refused', async () => {
  const userId = newUserId()
  await rejectsWith('22023', consume(undefined, 'auto_tags'), /user_id/)
  await rejectsWith('22023', consume(userId, undefined), /feature/)
  await rejectsWith('22023', consume(userId, 'auto_tags', 0), /amount/)
  await rejectsWith('22023', consume(userId, 'auto_tags', null), /amount/)
  await rejectsWith('22023', consume(userId, 'auto_tags', 1, ''), /idempotency_key/)
})

test('enforce_quota: create, createMany and upsert of a model count its rows', async () => {
  const userId = newUserId()
  await prisma.subscription.create({ data: { userId, tier: 'PRO', status: 'ACTIVE' } })
  const remaining = async () =>
    (await one(prisma.$queryRaw`SELECT momento_billing.quota_remaining(${userId}, 'brainstorm_create') AS remaining`)).remaining
  const first = await prisma.brainstorm.create({ data: { userId, title: 'one' } })
  assert.equal(await remaining(), 29n)
  await prisma.brainstorm.upsert({ where: { id: first.id }, update: { title: 'two' }, create: { userId, title: 'never' } })
  assert.equal(await remaining(), 29n)
  await prisma.brainstorm.createMany({ data: Array.from({ length: 28 }, (_, i) => ({ userId, title: String(i) })) })
  assert.equal(await remaining(), 1n)
  await assert.rejects(prisma.brainstorm.createMany({ data: [{ userId, title: 'a' }, { userId, title: 'b' }] }), (error) =>
    /quota of "brainstorm_create" exceeded/.test(`${error.message} ${JSON.stringify(error.meta)}`),
  )
  assert.equal(await remaining(), 1n)
  assert.equal(await prisma.brainstorm.count({ where: { userId } }), 29)
})
