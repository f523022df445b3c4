// What the app asks: tier, quotas and the billing page's object.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, messageOf, newUserId, rejectsWith } from './app.js'
import { HOUR, price } from './events.js'

const prisma = connect()
const utc = connect({ options: '-c timezone=UTC' })

const limits = {
  BASIC: [30n, 20n, 10n, 0n, 0n, 1n, 10n, 20n],
  PRO: [100n, 200n, 200n, 50n, 100n, 30n, 100n, 200n],
  BUSINESS: [1000n, 1000n, 1000n, 500n, 1000n, 200n, 500n, 1000n],
  ENTERPRISE: Array(8).fill(null),
}
const features = [
  'semantic_search',
  'auto_tags',
  'auto_titles',
  'reformulation',
  'ai_chat',
  'brainstorm_create',
  'brainstorm_expand',
  'brainstorm_enrich',
]

async function effectiveTier(userId) {
  const [row] = await prisma.$queryRaw`SELECT momento_billing.effective_tier(${userId}) AS tier`
  return row.tier
}

async function quotaRemaining(userId, feature) {
  const [row] = await prisma.$queryRaw`SELECT momento_billing.quota_remaining(${userId}, ${feature}) AS remaining`
  return row.remaining
}

const quotas = (client, userId) => client.$queryRaw`SELECT * FROM momento_billing.quota_remaining(${userId})`

async function billingStatus(userId) {
  const [row] = await prisma.$queryRaw`SELECT momento_billing.billing_status(${userId}) AS status`
  return row.status
}

// A user whose row the app wrote itself.
async function userWith(data) {
  const userId = newUserId()
  await prisma.subscription.create({ data: { userId, ...data } })
  return userId
}

const inHours = (hours) => new Date(Date.now() + hours * HOUR * 1000)

function bySortedName(a, b) {
  return a.feature < b.feature ? -1 : 1
}

test('the plain session is not in UTC, so the other tests prove something', async () => {
  const [row] = await prisma.$queryRaw`SELECT current_setting('TimeZone') AS zone`
  assert.equal(row.zone, 'America/New_York')
})

test('effective_tier: a user without a row has the default tier', async () => {
  assert.equal(await effectiveTier(newUserId()), 'BASIC')
})

test('effective_tier: no user, no tier', async () => {
  assert.equal(await effectiveTier(null), null)
})

test("effective_tier: the app's own rows count by status and period", async () => {
  const cases = [
    ['PRO', 'ACTIVE', null, 'PRO'],
    ['BUSINESS', 'TRIALING', inHours(1), 'BUSINESS'],
    ['ENTERPRISE', 'ACTIVE', null, 'ENTERPRISE'],
    ['PRO', 'PAST_DUE', inHours(1), 'PRO'],
    ['PRO', 'PAST_DUE', inHours(-1), 'BASIC'],
    ['PRO', 'CANCELED', inHours(1), 'PRO'],
    ['PRO', 'CANCELED', inHours(-1), 'BASIC'],
    ['PRO', 'CANCELED', null, 'BASIC'],
    ['PRO', 'INACTIVE', inHours(1), 'BASIC'],
  ]
  for (const [tier, status, currentPeriodEnd, expected] of cases) {
    const userId = await userWith({ tier, status, currentPeriodEnd })
    const at = currentPeriodEnd?.toISOString() ?? 'no period'
    assert.equal(await effectiveTier(userId), expected, `${tier} ${status} ${at}`)
  }
})

test('effective_tier: access holds before the end of the period, not at it', async () => {
  const end = new Date('2027-06-16T00:00:00.500Z')
  const userId = await userWith({ tier: 'PRO', status: 'CANCELED', currentPeriodEnd: end })
  const tierAt = async (time) => {
    // A Date would reach the server without its zone.
    const at = time.toISOString()
    const [row] = await prisma.$queryRaw`SELECT momento_billing.effective_tier(${userId}, ${at}::timestamptz) AS tier`
    return row.tier
  }
  assert.equal(await tierAt(new Date(end.getTime() - 1)), 'PRO')
  assert.equal(await tierAt(end), 'BASIC')
})

test('effective_tier: one query answers for many users', async () => {
  const users = [await userWith({ tier: 'PRO', status: 'ACTIVE' }), newUserId()]
  const rows = await prisma.$queryRaw`
    SELECT u.id, momento_billing.effective_tier(u.id) AS tier
    FROM unnest(${users}::text[]) WITH ORDINALITY AS u (id, n) ORDER BY u.n`
  assert.deepEqual(rows, [
    { id: users[0], tier: 'PRO' },
    { id: users[1], tier: 'BASIC' },
  ])
})

test('quota_remaining: one feature', async () => {
  const userId = newUserId()
  assert.equal(await quotaRemaining(userId, 'semantic_search'), 30n)
  assert.equal(await quotaRemaining(userId, 'ai_chat'), 0n)
})

test('quota_remaining: NULL is unlimited', async () => {
  const userId = await userWith({ tier: 'ENTERPRISE', status: 'ACTIVE' })
  assert.equal(await quotaRemaining(userId, 'ai_chat'), null)
})

test('quota_remaining: a misspelt feature or a missing user is an error, never "unlimited"', async () => {
  await rejectsWith('22023', quotaRemaining(newUserId(), 'ai_chatt'))
  await rejectsWith('22023', quotaRemaining(null, 'ai_chat'))
  await rejectsWith('22023', quotaRemaining('', 'ai_chat'))
  await rejectsWith('22023', quotaRemaining(newUserId(), null))
})

for (const [tier, remaining] of Object.entries(limits)) {
  test(`quota_remaining: all features of ${tier}`, async () => {
    const userId = await userWith({ tier, status: 'ACTIVE' })
    const [{ now }] = await utc.$queryRaw`SELECT now() AS now`
    const rows = await quotas(utc, userId)
    const month = (offset) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + offset))
    const expected = features.map((feature, i) => {
      const unlimited = tier === 'ENTERPRISE'
      const included = unlimited || remaining[i] > 0n
      return {
        feature,
        tier,
        used: 0n,
        held: 0n,
        monthly_limit: included ? remaining[i] : null,
        remaining: remaining[i],
        unlimited,
        included,
        period_start: month(0),
        resets_at: month(1),
      }
    })
    // A feature outside the plan may show its limit as NULL or as 0.
    for (const row of rows.filter((row) => !row.included)) {
      assert.ok(row.monthly_limit === null || row.monthly_limit === 0n)
      row.monthly_limit = null
    }
    assert.deepEqual(rows.toSorted(bySortedName), expected.toSorted(bySortedName))
  })
}

test("quota_remaining: the session's user, for one transaction", async () => {
  const userId = await userWith({ tier: 'PRO', status: 'ACTIVE' })
  const rows = await prisma.$transaction(async (tx) => {
    await tx.$queryRaw`SELECT set_config('momento_billing.user_id', ${userId}, true)`
    return tx.$queryRaw`SELECT * FROM momento_billing.quota_remaining()`
  })
  assert.deepEqual(rows, await quotas(prisma, userId))
  assert.equal(rows.length, features.length)
})

test('quota_remaining: without a user in the session it is an error', async () => {
  await rejectsWith('22023', prisma.$queryRaw`SELECT * FROM momento_billing.quota_remaining()`)
})

test('quota_remaining: the setting does not outlive its transaction on a pooled connection', async () => {
  const single = connect({ max: 1 })
  await single.$transaction([
    single.$queryRaw`SELECT set_config('momento_billing.user_id', ${newUserId()}, true)`,
    single.$queryRaw`SELECT * FROM momento_billing.quota_remaining()`,
  ])
  await rejectsWith('22023', single.$queryRaw`SELECT * FROM momento_billing.quota_remaining()`)
})

test('billing_status: a user who never bought anything', async () => {
  assert.deepEqual(await billingStatus(newUserId()), {
    tier: 'BASIC',
    effectiveTier: 'BASIC',
    status: null,
    currentPeriodEnd: null,
    cancelAtPeriodEnd: false,
    hasStripeSubscription: false,
    billingEnabled: true,
  })
})

test("billing_status: times are UTC whatever the session's zone", async () => {
  const currentPeriodEnd = new Date('2020-06-16T00:00:00.000Z')
  const userId = await userWith({
    tier: 'PRO',
    status: 'CANCELED',
    currentPeriodEnd,
    cancelAtPeriodEnd: true,
    stripeSubscriptionId: `sub_${newUserId()}`,
  })
  assert.deepEqual(await billingStatus(userId), {
    tier: 'PRO',
    effectiveTier: 'BASIC',
    status: 'CANCELED',
    currentPeriodEnd: '2020-06-16T00:00:00.000Z',
    cancelAtPeriodEnd: true,
    hasStripeSubscription: true,
    billingEnabled: true,
  })
})

test('prices: both ways', async () => {
  const [row] = await prisma.$queryRaw`SELECT
    momento_billing.resolve_price_id('PRO', 'year') AS price,
    momento_billing.price_id_to_tier(${price.BUSINESS.month}) AS tier`
  assert.deepEqual(row, { price: price.PRO.year, tier: 'BUSINESS' })
})

test('prices: what is not configured is MB002 with a hint', async () => {
  await rejectsWith('MB002', prisma.$queryRaw`SELECT momento_billing.resolve_price_id('ENTERPRISE', 'month')`)
  const error = await prisma.$queryRaw`SELECT momento_billing.price_id_to_tier('price_unknown')`.catch((e) => e)
  assert.equal(error.meta.driverAdapterError.cause.code, 'MB002', messageOf(error))
  assert.match(error.meta.driverAdapterError.cause.hint, /./)
})

test("the app's role has the app's functions and nothing else", async () => {
  await rejectsWith('42501', prisma.$queryRaw`SELECT count(*) FROM momento_billing.webhook_inbox`)
  await rejectsWith('42501', prisma.$queryRaw`SELECT count(*) FROM momento_billing.price`)
  await rejectsWith('42501', prisma.$queryRaw`SELECT * FROM momento_billing.sync_subscription_from_event('{}')`)
  await rejectsWith('42501', prisma.$queryRaw`SELECT momento_billing.drain_inbox()`)
  await rejectsWith(
    '42501',
    prisma.$executeRaw`INSERT INTO momento_billing.webhook_inbox (payload) VALUES ('{"id": "evt_forged"}')`,
  )
})
