// Events as Stripe sends them, in the two shapes that live side by side:
// before 2025-03-31.basil the period is the subscription's own, since then
// its items'; the invoice's link to the subscription moved as well.
import { randomBytes } from 'node:crypto'

export const ACACIA = '2024-09-30.acacia'
export const ENDIVE = '2026-10-28.endive'

// The rows of setup.sql.
export const price = {
  PRO: { month: 'price_1PrismaProMonthly', year: 'price_1PrismaProAnnual' },
  BUSINESS: { month: 'price_1PrismaBusinessMonthly', year: 'price_1PrismaBusinessAnnual' },
}

export const MINUTE = 60
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

export const seconds = (date) => Math.floor(date.getTime() / 1000)
export const date = (seconds) => new Date(seconds * 1000)

export const stripeId = (prefix) => `${prefix}_1${randomBytes(12).toString('hex')}`

export function event(type, object, { apiVersion = ENDIVE, created = seconds(new Date()), previous } = {}) {
  return {
    id: stripeId('evt'),
    object: 'event',
    api_version: apiVersion,
    created,
    data: previous === undefined ? { object } : { object, previous_attributes: previous },
    livemode: false,
    pending_webhooks: 1,
    request: { id: stripeId('req'), idempotency_key: null },
    type,
  }
}

// One subscription at Stripe. Its methods answer the events of its life, each
// with the whole object as it is at that moment.
export class StripeSubscription {
  constructor({
    userId,
    apiVersion = ENDIVE,
    priceId = price.PRO.month,
    customerId = stripeId('cus'),
    metadata = { userId },
    start = seconds(new Date()),
    end = start + 30 * DAY,
  }) {
    Object.assign(this, { userId, apiVersion, priceId, customerId, metadata, start, end })
    this.id = stripeId('sub')
    this.itemId = stripeId('si')
    this.started = start
    this.status = 'incomplete'
    this.cancelAtPeriodEnd = false
    this.canceledAt = null
    this.endedAt = null
    this.reason = null
  }

  get hasItemPeriods() {
    return this.apiVersion !== ACACIA
  }

  object() {
    const period = { current_period_start: this.start, current_period_end: this.end }
    return {
      id: this.id,
      object: 'subscription',
      application: null,
      automatic_tax: { enabled: false, liability: null },
      billing_cycle_anchor: this.started,
      cancel_at: this.cancelAtPeriodEnd ? this.end : null,
      cancel_at_period_end: this.cancelAtPeriodEnd,
      canceled_at: this.canceledAt,
      cancellation_details: { comment: null, feedback: null, reason: this.reason },
      collection_method: 'charge_automatically',
      created: this.started,
      currency: 'eur',
      ...(this.hasItemPeriods ? { billing_mode: { type: 'classic' } } : period),
      customer: this.customerId,
      default_payment_method: null,
      description: null,
      discounts: [],
      ended_at: this.endedAt,
      items: {
        object: 'list',
        data: [
          {
            id: this.itemId,
            object: 'subscription_item',
            created: this.started,
            ...(this.hasItemPeriods ? period : {}),
            metadata: {},
            plan: { id: this.priceId, object: 'plan', active: true, currency: 'eur', interval: 'month' },
            price: {
              id: this.priceId,
              object: 'price',
              active: true,
              currency: 'eur',
              metadata: {},
              product: 'prod_Momento',
              recurring: { interval: 'month', interval_count: 1, usage_type: 'licensed' },
              type: 'recurring',
              unit_amount: 990,
            },
            quantity: 1,
            subscription: this.id,
          },
        ],
        has_more: false,
        url: `/v1/subscription_items?subscription=${this.id}`,
      },
      latest_invoice: null,
      livemode: false,
      metadata: this.metadata,
      pause_collection: null,
      schedule: null,
      start_date: this.started,
      status: this.status,
      test_clock: null,
      trial_end: null,
      trial_start: null,
    }
  }

  event(type, created, previous) {
    return event(type, this.object(), { apiVersion: this.apiVersion, created, previous })
  }

  created(at = this.started) {
    return this.event('customer.subscription.created', at)
  }

  // Changes come as this class's own fields, e.g. { status: 'active' }.
  updated(at, changes) {
    const before = this.object()
    Object.assign(this, changes)
    const after = this.object()
    const previous = {}
    for (const key of Object.keys(after)) {
      if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) {
        previous[key] = before[key]
      }
    }
    return this.event('customer.subscription.updated', at, previous)
  }

  renewed(at) {
    return this.updated(at, { start: this.end, end: this.end + 30 * DAY })
  }

  deleted(at, reason = 'cancellation_requested') {
    Object.assign(this, { status: 'canceled', endedAt: at, canceledAt: this.canceledAt ?? at, reason })
    return this.event('customer.subscription.deleted', at)
  }

  checkoutCompleted(at = this.started + 1) {
    const session = {
      id: stripeId('cs_test'),
      object: 'checkout.session',
      amount_subtotal: 990,
      amount_total: 990,
      client_reference_id: this.userId,
      created: this.started - 30,
      currency: 'eur',
      customer: this.customerId,
      customer_details: { address: { country: 'FR' }, email: 'zoé@example.com', name: 'Zoé Ørsted' },
      expires_at: this.started + DAY,
      invoice: stripeId('in'),
      livemode: false,
      locale: null,
      metadata: { userId: this.userId },
      mode: 'subscription',
      payment_intent: null,
      payment_status: 'paid',
      status: 'complete',
      subscription: this.id,
      success_url: null,
      ui_mode: this.hasItemPeriods ? 'embedded_page' : 'embedded',
    }
    return event('checkout.session.completed', session, { apiVersion: this.apiVersion, created: at })
  }

  // The renewal's invoice: its own period looks back, its line's is the one
  // to be paid for.
  paymentFailed(at) {
    const line = {
      id: stripeId('il'),
      object: 'line_item',
      amount: 990,
      currency: 'eur',
      description: '1 × Momento Pro',
      livemode: false,
      metadata: this.metadata,
      period: { start: this.start, end: this.end },
      quantity: 1,
      ...(this.hasItemPeriods
        ? {
            parent: {
              type: 'subscription_item_details',
              invoice_item_details: null,
              subscription_item_details: {
                invoice_item: null,
                proration: false,
                subscription: this.id,
                subscription_item: this.itemId,
              },
            },
            pricing: { type: 'price_details', price_details: { price: this.priceId, product: 'prod_Momento' } },
          }
        : {
            price: { id: this.priceId, object: 'price' },
            plan: { id: this.priceId, object: 'plan' },
            proration: false,
            subscription: this.id,
            subscription_item: this.itemId,
            type: 'subscription',
          }),
    }
    const invoice = {
      id: stripeId('in'),
      object: 'invoice',
      amount_due: 990,
      amount_paid: 0,
      attempt_count: 1,
      attempted: true,
      billing_reason: 'subscription_cycle',
      collection_method: 'charge_automatically',
      created: this.start,
      currency: 'eur',
      customer: this.customerId,
      lines: { object: 'list', data: [line], has_more: false, url: '/v1/invoices/lines' },
      livemode: false,
      metadata: {},
      next_payment_attempt: at + 3 * DAY,
      period_start: this.start - 30 * DAY,
      period_end: this.start,
      status: 'open',
      ...(this.hasItemPeriods
        ? {
            parent: {
              type: 'subscription_details',
              quote_details: null,
              subscription_details: { metadata: this.metadata, subscription: this.id },
            },
          }
        : { paid: false, subscription: this.id, subscription_details: { metadata: this.metadata } }),
    }
    return event('invoice.payment_failed', invoice, { apiVersion: this.apiVersion, created: at })
  }
}
