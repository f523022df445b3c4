// From a signed webhook to Prisma's row: the background worker writes what
// prisma.subscription reads.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, deliver, deliverAll, newUserId, rejectsWith, until, untilRow } from './app.js'
import { ACACIA, DAY, ENDIVE, HOUR, MINUTE, StripeSubscription, date, price, seconds } from './events.js'

const prisma = connect()

async function billingStatus(userId) {
  const [row] = await prisma.$queryRaw`SELECT momento_billing.billing_status(${userId}) AS status`
  return row.status
}

async function effectiveTier(userId, at = new Date()) {
  const time = at.toISOString()
  const [row] = await prisma.$queryRaw`SELECT momento_billing.effective_tier(${userId}, ${time}::timestamptz) AS tier`
  return row.tier
}

function assertRecent(time, what) {
  assert.ok(time instanceof Date, what)
  const age = Date.now() - time.getTime()
  assert.ok(age > -MINUTE * 1000 && age < MINUTE * 1000, `${what} is ${time.toISOString()}`)
}

// The usual first purchase: created and paid within the same second.
function purchase(sold) {
  const created = sold.created()
  const paid = sold.updated(sold.started, { status: 'active' })
  return [sold.checkoutCompleted(), created, paid]
}

async function buy(options) {
  const sold = new StripeSubscription({ userId: newUserId(), ...options })
  await deliverAll(prisma, purchase(sold))
  const row = await untilRow(prisma, sold.userId, (row) => row.status === 'ACTIVE')
  return { sold, row }
}

// The worker takes events as they arrived: once somebody else's purchase has
// shown up, everything delivered before it has had its effect.
const drained = () => buy({})

for (const [shape, apiVersion] of [['before basil', ACACIA], ['since basil', ENDIVE]]) {
  test(`a purchase becomes the user's row (${shape})`, async () => {
    const start = seconds(new Date()) - 5
    const sold = new StripeSubscription({ userId: newUserId(), apiVersion, start, end: start + 30 * DAY + 17 })
    assert.equal(await prisma.subscription.findUnique({ where: { userId: sold.userId } }), null)
    assert.equal(await effectiveTier(sold.userId), 'BASIC')

    await deliverAll(prisma, purchase(sold))
    const row = await untilRow(prisma, sold.userId, (row) => row.status === 'ACTIVE')

    assert.match(row.id, /^c[0-9a-z]{24}$/)
    assertRecent(row.createdAt, 'createdAt')
    assertRecent(row.updatedAt, 'updatedAt')
    assert.ok(row.updatedAt >= row.createdAt)
    assert.deepEqual(row, {
      id: row.id,
      userId: sold.userId,
      tier: 'PRO',
      status: 'ACTIVE',
      stripeCustomerId: sold.customerId,
      stripeSubscriptionId: sold.id,
      stripePriceId: price.PRO.month,
      currentPeriodStart: date(sold.start),
      currentPeriodEnd: date(sold.end),
      cancelAtPeriodEnd: false,
      createdAt: row.createdAt,
      updatedAt: row.updatedAt,
    })
    assert.deepEqual(await billingStatus(sold.userId), {
      tier: 'PRO',
      effectiveTier: 'PRO',
      status: 'ACTIVE',
      currentPeriodEnd: date(sold.end).toISOString(),
      cancelAtPeriodEnd: false,
      hasStripeSubscription: true,
      billingEnabled: true,
    })
    const [quota] = await prisma.$queryRaw`SELECT momento_billing.quota_remaining(${sold.userId}, 'ai_chat') AS left`
    assert.equal(quota.left, 100n)
  })

  test(`the guide's way: the user only in the session's metadata (${shape})`, async () => {
    const { sold, row } = await buy({ apiVersion, metadata: {}, priceId: price.BUSINESS.year })
    assert.equal(row.tier, 'BUSINESS')
    assert.equal(row.stripePriceId, price.BUSINESS.year)
    assert.equal(await effectiveTier(sold.userId), 'BUSINESS')
  })

  test(`the same row in any order of delivery (${shape})`, async () => {
    for (const order of [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [2, 1, 0, 1, 2, 0]]) {
      const sold = new StripeSubscription({ userId: newUserId(), apiVersion })
      const events = purchase(sold)
      await deliverAll(prisma, order.map((i) => events[i]))
      await drained()
      const row = await prisma.subscription.findUnique({ where: { userId: sold.userId } })
      assert.deepEqual(
        [row?.tier, row?.status, row?.stripeSubscriptionId, row?.currentPeriodEnd, row?.cancelAtPeriodEnd],
        ['PRO', 'ACTIVE', sold.id, date(sold.end), false],
        `order ${order}`,
      )
    }
  })

  test(`a life: failed renewal, recovery, planned cancel, end (${shape})`, async () => {
    const now = seconds(new Date())
    const { sold, row: first } = await buy({ apiVersion, start: now - 32 * DAY, end: now - 2 * DAY })
    const seen = (condition) => untilRow(prisma, sold.userId, condition)

    const renewal = now - 2 * DAY
    await deliver(prisma, sold.renewed(renewal))
    let row = await seen((row) => row.currentPeriodEnd.getTime() === sold.end * 1000)
    assert.equal(row.status, 'ACTIVE')
    assert.deepEqual(row.currentPeriodStart, date(renewal))

    await deliver(prisma, sold.paymentFailed(renewal + HOUR))
    row = await seen((row) => row.status === 'PAST_DUE')
    assert.equal(row.tier, 'PRO')
    assert.deepEqual(row.currentPeriodEnd, date(sold.end))
    assert.equal(await effectiveTier(sold.userId), 'PRO')

    await deliver(prisma, sold.updated(renewal + HOUR, { status: 'past_due' }))
    await deliver(prisma, sold.updated(renewal + 5 * HOUR, { status: 'active' }))
    row = await seen((row) => row.status === 'ACTIVE')
    assert.deepEqual(row.currentPeriodEnd, date(sold.end))

    await deliver(prisma, sold.updated(now - DAY, { cancelAtPeriodEnd: true, canceledAt: now - DAY }))
    row = await seen((row) => row.cancelAtPeriodEnd)
    assert.equal(row.status, 'ACTIVE')
    assert.equal((await billingStatus(sold.userId)).cancelAtPeriodEnd, true)

    await deliver(prisma, sold.deleted(now))
    row = await seen((row) => row.status === 'CANCELED')
    assert.equal(row.tier, 'PRO')
    assert.deepEqual(row.currentPeriodEnd, date(sold.end))
    assert.equal(await effectiveTier(sold.userId), 'PRO')
    assert.equal(await effectiveTier(sold.userId, new Date(sold.end * 1000 - 1)), 'PRO')
    assert.equal(await effectiveTier(sold.userId, date(sold.end)), 'BASIC')

    assert.equal(row.id, first.id)
    assert.deepEqual(row.createdAt, first.createdAt)
    assert.ok(row.updatedAt > first.updatedAt)
  })
}

test('a change of plan, told in the new shape of a subscription sold in the old one', async () => {
  const now = seconds(new Date())
  const { sold } = await buy({ apiVersion: ACACIA, start: now - DAY })
  sold.apiVersion = ENDIVE
  await deliver(prisma, sold.updated(now, { priceId: price.BUSINESS.month }))
  const row = await untilRow(prisma, sold.userId, (row) => row.tier === 'BUSINESS')
  assert.equal(row.stripePriceId, price.BUSINESS.month)
  assert.deepEqual(row.currentPeriodEnd, date(sold.end))
})

test('a late event of the ended subscription does not touch the new one', async () => {
  const now = seconds(new Date())
  const { sold: old } = await buy({ start: now - 40 * DAY, end: now - 10 * DAY })
  const late = old.updated(now - 11 * DAY, { cancelAtPeriodEnd: true, canceledAt: now - 11 * DAY })
  await deliver(prisma, old.deleted(now - 10 * DAY))
  await untilRow(prisma, old.userId, (row) => row.status === 'CANCELED')

  const again = new StripeSubscription({
    userId: old.userId,
    customerId: old.customerId,
    priceId: price.BUSINESS.month,
    start: now - DAY,
  })
  await deliverAll(prisma, purchase(again))
  const row = await untilRow(prisma, old.userId, (row) => row.stripeSubscriptionId === again.id && row.status === 'ACTIVE')
  assert.equal(row.tier, 'BUSINESS')

  await deliver(prisma, late)
  await drained()
  assert.deepEqual(await prisma.subscription.findUnique({ where: { userId: old.userId } }), row)
})

test('what the worker wrote is UTC in the table, too', async () => {
  const { sold } = await buy({})
  const [row] = await prisma.$queryRaw`
    SELECT current_setting('TimeZone') AS zone, "currentPeriodEnd"::text AS until, "createdAt"::text AS created
    FROM "Subscription" WHERE "userId" = ${sold.userId}`
  assert.equal(row.zone, 'America/New_York')
  assert.equal(row.until, date(sold.end).toISOString().replace('T', ' ').replace('.000Z', ''))
  assertRecent(new Date(`${row.created.replace(' ', 'T')}Z`), 'createdAt')
})

test("the app reads and writes the worker's rows as its own", async () => {
  const { sold, row } = await buy({})
  const where = { userId: sold.userId }

  assert.deepEqual(await prisma.subscription.findUnique({ where: { id: row.id } }), row)
  assert.deepEqual(await prisma.subscription.findUnique({ where: { stripeSubscriptionId: sold.id } }), row)
  assert.deepEqual(
    await prisma.subscription.findMany({
      where: { ...where, status: { in: ['ACTIVE', 'TRIALING'] }, tier: 'PRO', currentPeriodEnd: { gt: new Date() } },
    }),
    [row],
  )
  assert.equal(await prisma.subscription.count({ where: { ...where, currentPeriodEnd: date(sold.end) } }), 1)
  const groups = await prisma.subscription.groupBy({ by: ['tier', 'status'], where, _count: true })
  assert.deepEqual(groups, [{ tier: 'PRO', status: 'ACTIVE', _count: 1 }])

  const updated = await prisma.subscription.update({ where, data: { cancelAtPeriodEnd: true } })
  assert.equal(updated.cancelAtPeriodEnd, true)
  assert.equal(updated.id, row.id)
  assert.ok(updated.updatedAt >= row.updatedAt)
  assert.equal((await billingStatus(sold.userId)).cancelAtPeriodEnd, true)

  const upserted = await prisma.subscription.upsert({
    where,
    create: { userId: sold.userId },
    update: { tier: 'BUSINESS', cancelAtPeriodEnd: false },
  })
  assert.deepEqual([upserted.id, upserted.tier, upserted.stripeSubscriptionId], [row.id, 'BUSINESS', sold.id])
  assert.equal(await effectiveTier(sold.userId), 'BUSINESS')

  await assert.rejects(prisma.subscription.create({ data: where }), { code: 'P2002' })
})

test('the next event takes the row over again after the app changed it', async () => {
  const { sold, row } = await buy({ start: seconds(new Date()) - HOUR })
  await prisma.subscription.update({ where: { userId: sold.userId }, data: { tier: 'BASIC', status: 'INACTIVE' } })
  await deliver(prisma, sold.updated(sold.start + MINUTE, { priceId: price.BUSINESS.month }))
  const later = await untilRow(prisma, sold.userId, (row) => row.tier === 'BUSINESS')
  assert.deepEqual([later.id, later.status], [row.id, 'ACTIVE'])
})

test('a row that the app upserted before the first webhook is used, not doubled', async () => {
  const userId = newUserId()
  const mine = await prisma.subscription.upsert({ where: { userId }, create: { userId }, update: {} })
  const sold = new StripeSubscription({ userId })
  await deliverAll(prisma, purchase(sold))
  const row = await untilRow(prisma, userId, (row) => row.status === 'ACTIVE')
  assert.equal(row.id, mine.id)
  assert.deepEqual(row.createdAt, mine.createdAt)
  assert.ok(row.updatedAt > mine.updatedAt)
  assert.equal(row.stripeSubscriptionId, sold.id)
})

test('in the same transaction as the app, a webhook rolls back with it', async () => {
  const sold = new StripeSubscription({ userId: newUserId() })
  const [checkout, , paid] = purchase(sold)
  await deliver(prisma, checkout)
  await assert.rejects(
    prisma.$transaction(async (tx) => {
      assert.equal((await deliver(tx, paid)).duplicate, false)
      throw new Error('the app changed its mind')
    }),
    /changed its mind/,
  )
  assert.equal((await deliver(prisma, paid)).duplicate, false)
  await untilRow(prisma, sold.userId, (row) => row.status === 'ACTIVE')
})

test('many customers at once', async () => {
  const sales = Array.from({ length: 40 }, (_, i) => {
    const priceId = i % 2 ? price.PRO.month : price.BUSINESS.month
    return new StripeSubscription({ userId: newUserId(), apiVersion: i % 3 ? ENDIVE : ACACIA, priceId })
  })
  await Promise.all(sales.map((sold) => Promise.all(purchase(sold).map((event) => deliver(prisma, event)))))
  const where = { userId: { in: sales.map((sold) => sold.userId) }, status: 'ACTIVE' }
  const rows = await until(
    () => prisma.subscription.findMany({ where }),
    (rows) => rows.length === sales.length,
  )
  const bySubscription = new Map(rows.map((row) => [row.stripeSubscriptionId, row]))
  for (const [i, sold] of sales.entries()) {
    const row = bySubscription.get(sold.id)
    assert.deepEqual([row?.userId, row?.tier], [sold.userId, i % 2 ? 'PRO' : 'BUSINESS'])
  }
})

test('a webhook of an unknown price gives no more than the default tier', async () => {
  const { sold, row } = await buy({ priceId: 'price_1OfAnotherProduct' })
  assert.equal(row.tier, 'BASIC')
  assert.equal(await effectiveTier(sold.userId), 'BASIC')
  await rejectsWith('MB002', prisma.$queryRaw`SELECT momento_billing.price_id_to_tier('price_1OfAnotherProduct')`)
})
