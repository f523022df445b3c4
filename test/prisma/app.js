// The app's side: a Prisma client as the app would make it, and what its
// webhook route does.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { after } from 'node:test'
import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from '@prisma/client'
import Stripe from 'stripe'

export const stripe = new Stripe('sk_test_not_used')
export const secret = process.env.WEBHOOK_SECRET
export const previousSecret = process.env.WEBHOOK_SECRET_PREVIOUS

// Takes pg's pool options; PGHOST and the like pg reads itself.
export function connect(pool = {}) {
  const prisma = new PrismaClient({ adapter: new PrismaPg({ max: 4, ...pool }) })
  after(() => prisma.$disconnect())
  return prisma
}

export const newUserId = () => `user_${randomBytes(8).toString('hex')}`

export const bodyOf = (event) => Buffer.from(JSON.stringify(event, null, 2))

export function sign(body, { secret: key = secret, ...options } = {}) {
  return stripe.webhooks.generateTestHeaderString({ payload: body.toString(), secret: key, ...options })
}

export async function receive(prisma, body, header) {
  const [row] = await prisma.$queryRaw`SELECT * FROM momento_billing.receive_webhook(${body}::bytea, ${header})`
  return row
}

export function deliver(prisma, event) {
  const body = bodyOf(event)
  return receive(prisma, body, sign(body))
}

export async function deliverAll(prisma, events) {
  for (const event of events) {
    await deliver(prisma, event)
  }
}

// Polls until there is an answer that satisfies the condition; at the
// deadline the last one is in the message.
export async function until(read, condition, seconds = 20) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const answer = await read()
    if (answer !== null && condition(answer)) {
      return answer
    }
    if (Date.now() > deadline) {
      const text = JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? String(value) : value))
      assert.fail(`not reached in ${seconds} s: ${condition}; last answer: ${text}`)
    }
    await delay(20)
  }
}

export const untilRow = (prisma, userId, condition) =>
  until(() => prisma.subscription.findUnique({ where: { userId } }), condition)

// An error of the database reaches a Prisma app as P2010, with the SQLSTATE
// and the message inside.
export const sqlstateOf = (error) => error.meta?.driverAdapterError?.cause?.originalCode
export const messageOf = (error) => error.meta?.driverAdapterError?.cause?.originalMessage

export async function rejectsWith(sqlstate, promise, message = /./) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, 'P2010', String(error))
    assert.equal(sqlstateOf(error), sqlstate, String(error))
    assert.match(messageOf(error), message)
    return true
  })
}
