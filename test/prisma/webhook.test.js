// The webhook route: a body and a header go into receive_webhook(), and the
// stripe package must agree with it on every one of them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  bodyOf,
  connect,
  messageOf,
  newUserId,
  previousSecret,
  receive,
  rejectsWith,
  secret,
  sign,
  sqlstateOf,
  stripe,
} from './app.js'
import { ACACIA, ENDIVE, StripeSubscription, event, seconds, stripeId } from './events.js'

const prisma = connect()

// Of a type that changes nobody's subscription.
const anEvent = (fields) => event('product.updated', { id: stripeId('prod'), object: 'product', ...fields })

// The stripe package's own verdict.
const accepts = (body, header, key = secret) => stripe.webhooks.constructEvent(body, header, key).id
const refuses = (body, header, key = secret) => assert.throws(() => accepts(body, header, key))

for (const [shape, apiVersion] of [['before basil', ACACIA], ['since basil', ENDIVE]]) {
  test(`a body signed by the stripe package is stored (${shape})`, async () => {
    const sold = new StripeSubscription({ userId: newUserId(), apiVersion })
    for (const sent of [sold.checkoutCompleted(), sold.created()]) {
      const body = bodyOf(sent)
      const header = sign(body)
      assert.equal(accepts(body, header), sent.id)
      const row = await receive(prisma, body, header)
      assert.equal(typeof row.inbox_id, 'bigint')
      assert.deepEqual(row, {
        inbox_id: row.inbox_id,
        event_id: sent.id,
        event_type: sent.type,
        duplicate: false,
      })
    }
  })
}

test('a body as text, with and without a cast', async () => {
  for (const query of [
    (body, header) => prisma.$queryRaw`SELECT * FROM momento_billing.receive_webhook(${body}::text, ${header})`,
    (body, header) => prisma.$queryRaw`SELECT * FROM momento_billing.receive_webhook(${body}, ${header})`,
  ]) {
    const sent = anEvent({ name: 'Momento Pro – équipe 🎉' })
    const body = bodyOf(sent).toString()
    const header = sign(body)
    assert.equal(accepts(body, header), sent.id)
    const [row] = await query(body, header)
    assert.equal(row.event_id, sent.id)
    assert.equal(row.duplicate, false)
  }
})

test('the same event as text after bytea is a duplicate of the same row', async () => {
  const body = bodyOf(anEvent())
  const first = await receive(prisma, body, sign(body))
  const text = body.toString()
  const [second] = await prisma.$queryRaw`SELECT * FROM momento_billing.receive_webhook(${text}, ${sign(text)})`
  assert.deepEqual(second, { ...first, duplicate: true })
})

test('raw bytes count: compact, indented, CRLF, trailing newline, non-ASCII, escaped', async () => {
  const bodies = [
    JSON.stringify(anEvent()),
    JSON.stringify(anEvent(), null, 4),
    JSON.stringify(anEvent(), null, 2).replaceAll('\n', '\r\n'),
    `${JSON.stringify(anEvent())}\n`,
    JSON.stringify(anEvent({ name: 'Zoé Ørsted 漢字 🎉' })),
    JSON.stringify(anEvent({ name: 'Zoe' })).replace('Zoe', 'Zo\\u00e9 \\ud83c\\udf89'),
  ]
  for (const text of bodies) {
    const body = Buffer.from(text)
    const header = sign(body)
    const id = accepts(body, header)
    const row = await receive(prisma, body, header)
    assert.equal(row.event_id, id)
    assert.equal(row.duplicate, false)
  }
})

test('an unhandled type is a success', async () => {
  const sent = event('radar.early_fraud_warning.created', { id: stripeId('issfr'), object: 'radar.early_fraud_warning' })
  const body = bodyOf(sent)
  assert.equal((await receive(prisma, body, sign(body))).duplicate, false)
})

test('a delivery repeated is a success that says so', async () => {
  const body = bodyOf(anEvent())
  const header = sign(body)
  const first = await receive(prisma, body, header)
  assert.equal(first.duplicate, false)
  assert.deepEqual(await receive(prisma, body, header), { ...first, duplicate: true })
  // Stripe signs a retry anew.
  const retried = sign(body, { timestamp: seconds(new Date()) - 60 })
  assert.notEqual(retried, header)
  assert.deepEqual(await receive(prisma, body, retried), { ...first, duplicate: true })
})

test('ten deliveries at once: stored by one of them', async () => {
  const body = bodyOf(anEvent())
  const header = sign(body)
  const rows = await Promise.all(Array.from({ length: 10 }, () => receive(prisma, body, header)))
  assert.equal(rows.filter((row) => !row.duplicate).length, 1)
  assert.equal(new Set(rows.map((row) => row.inbox_id)).size, 1)
})

test('a tampered body is rejected and leaves nothing behind', async () => {
  const body = bodyOf(anEvent({ name: 'PRO' }))
  const header = sign(body)
  const tampered = Buffer.from(body.toString().replace('PRO', 'BUSINESS'))
  refuses(tampered, header)
  await rejectsWith('MB001', receive(prisma, tampered, header))
  const text = tampered.toString()
  await rejectsWith('MB001', prisma.$queryRaw`SELECT * FROM momento_billing.receive_webhook(${text}, ${header})`)
  assert.equal((await receive(prisma, body, header)).duplicate, false)
})

test('the code and the message reach the app; payload and secrets do not', async () => {
  const body = bodyOf(anEvent({ name: 'marker-in-the-payload' }))
  const header = sign(body, { secret: 'whsec_of_somebody_else' })
  const error = await receive(prisma, body, header).catch((e) => e)
  assert.equal(error.code, 'P2010')
  assert.equal(sqlstateOf(error), 'MB001')
  assert.match(messageOf(error), /signature/)
  const everything = error.message + JSON.stringify(error.meta)
  for (const leak of ['marker-in-the-payload', secret, previousSecret, header.split('v1=')[1]]) {
    assert.ok(!everything.includes(leak), everything)
  }
})

test('headers that both refuse', async () => {
  const body = bodyOf(anEvent())
  const now = seconds(new Date())
  const good = sign(body)
  const [t, v1] = good.split(',')
  const headers = {
    'wrong secret': sign(body, { secret: 'whsec_of_somebody_else' }),
    'secret without its prefix': sign(body, { secret: secret.replace('whsec_', '') }),
    'another scheme': sign(body, { scheme: 'v0' }),
    'ten minutes old': sign(body, { timestamp: now - 600 }),
    'no time': v1,
    'no signature': t,
    'time changed': `t=${now - 1},${v1}`,
    empty: '',
    'not a header': 'hello',
  }
  for (const [name, header] of Object.entries(headers)) {
    refuses(body, header)
    await rejectsWith('MB001', receive(prisma, body, header)).catch((error) => assert.fail(`${name}: ${error.message}`))
  }
  assert.equal((await receive(prisma, body, good)).duplicate, false)
})

test('no header at all', async () => {
  const body = bodyOf(anEvent())
  await rejectsWith('MB001', receive(prisma, body, null))
  // What a route that forgot to read the header would pass.
  await rejectsWith('MB001', receive(prisma, body, String(undefined)))
})

test('a header from the future, which the stripe package lets pass', async () => {
  const body = bodyOf(anEvent())
  const header = sign(body, { timestamp: seconds(new Date()) + 3600 })
  await rejectsWith('MB001', receive(prisma, body, header))
})

test('while secrets rotate: either secret, and headers with two v1', async () => {
  const retired = 'whsec_retired_long_ago'
  const timestamp = seconds(new Date())
  const v1 = (body, key) => sign(body, { timestamp, secret: key }).split(',')[1]
  const signers = [
    [secret],
    [previousSecret],
    [secret, previousSecret],
    [previousSecret, secret],
    [retired, secret],
    [previousSecret, retired],
    [retired, retired, retired, previousSecret],
  ]
  for (const keys of signers) {
    const sent = anEvent()
    const body = bodyOf(sent)
    const header = [`t=${timestamp}`, ...keys.map((key) => v1(body, key))].join(',')
    const known = keys.find((key) => key !== retired)
    assert.equal(accepts(body, header, known), sent.id)
    const row = await receive(prisma, body, header)
    assert.deepEqual([row.event_id, row.duplicate], [sent.id, false])
  }

  const body = bodyOf(anEvent())
  const header = [`t=${timestamp}`, v1(body, retired), v1(body, 'whsec_unknown')].join(',')
  refuses(body, header)
  refuses(body, header, previousSecret)
  await rejectsWith('MB001', receive(prisma, body, header))
})

test('a header with a v0 beside the v1, as in test mode', async () => {
  const sent = anEvent()
  const body = bodyOf(sent)
  const header = `${sign(body)},v0=${'6'.repeat(64)}`
  assert.equal(accepts(body, header), sent.id)
  assert.equal((await receive(prisma, body, header)).event_id, sent.id)
})

test('a hundred bodies of all sizes, at any age within the tolerance', async () => {
  for (let i = 0; i < 100; i++) {
    const sent = anEvent({ description: 'é'.repeat(i * i * 3), ['key'.repeat(i % 20)]: i })
    const body = bodyOf(sent)
    const timestamp = seconds(new Date()) - Math.floor(i * 2.9)
    const header = sign(body, { timestamp, secret: i % 2 ? secret : previousSecret })
    const row = await receive(prisma, body, header)
    assert.deepEqual([row.event_id, row.duplicate], [sent.id, false])
  }
})

test('signed, but not JSON', async () => {
  for (const text of ['marker=1&of=a+form', '{"id": "evt_marker", ']) {
    const body = Buffer.from(text)
    const error = await receive(prisma, body, sign(body)).catch((e) => e)
    assert.equal(sqlstateOf(error), '22P02', `${text}: ${error.message}`)
    assert.ok(!JSON.stringify(error.meta).includes('marker'), 'the payload is not quoted')
  }
})

test('an empty body, however signed', async () => {
  const body = Buffer.alloc(0)
  const header = sign(body)
  refuses(body, header)
  await rejectsWith('MB001', receive(prisma, body, header))
})
