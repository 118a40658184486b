/** The bucket by itself, with a clock that the test turns. */
import { expect, test } from 'vitest';
import {
  createLimits,
  createRateLimiter,
  networkOf,
  RateLimited,
  toFields,
} from '../../src/platform/http/rate-limit.ts';

const policy = { name: 'client', perSecond: 5, burst: 20 };

function startClock() {
  let now = 1_000;
  const advance = (seconds: number): void => {
    now += seconds * 1000;
  };
  return { read: () => now, advance };
}

const isRefused = (act: () => unknown): boolean => {
  try {
    act();
    return false;
  } catch (error) {
    if (error instanceof RateLimited) return true;
    throw error;
  }
};

test('a full bucket bears its burst, then the rate', () => {
  const clock = startClock();
  const limiter = createRateLimiter(policy, clock.read);
  for (let left = 19; left >= 0; left--) expect(limiter.admit('a').remaining).toBe(left);
  expect(isRefused(() => limiter.admit('a'))).toBe(true);
  expect(limiter.look('a')).toEqual({ remaining: 0, waitSeconds: 1, resetSeconds: 4 });
  expect(limiter.look('b').remaining).toBe(20);
  clock.advance(0.2);
  limiter.admit('a');
  expect(isRefused(() => limiter.admit('a'))).toBe(true);
  clock.advance(1);
  for (let n = 0; n < 5; n++) limiter.admit('a');
  expect(isRefused(() => limiter.admit('a'))).toBe(true);
  clock.advance(3_600);
  expect(limiter.look('a').remaining).toBe(20);
});

test('what was let in before it could be charged is a debt, and the debt is bounded', () => {
  const clock = startClock();
  const limiter = createRateLimiter(policy, clock.read);
  for (let n = 0; n < 30; n++) limiter.charge('a');
  expect(limiter.look('a')).toMatchObject({ remaining: 0, waitSeconds: 3 });
  for (let n = 0; n < 1_000; n++) limiter.charge('a');
  expect(limiter.look('a').waitSeconds).toBe(5);
  clock.advance(5);
  expect(limiter.look('a').waitSeconds).toBe(0);
});

test('a refusal takes nothing, and a clock that goes back gives nothing', () => {
  const clock = startClock();
  const limiter = createRateLimiter({ ...policy, burst: 1 }, clock.read);
  limiter.admit('a');
  clock.advance(-100);
  for (let n = 0; n < 50; n++) expect(isRefused(() => limiter.admit('a'))).toBe(true);
  clock.advance(100.2);
  limiter.admit('a');
});

test('buckets are bounded, and the one that rested longest is forgotten', () => {
  const limiter = createRateLimiter({ ...policy, burst: 1 }, () => 0, 3);
  for (const key of ['a', 'b', 'c']) limiter.admit(key);
  limiter.charge('a');
  for (let n = 0; n < 1_000; n++) limiter.charge(`other ${n}`);
  expect(limiter.size()).toBe(3);
  limiter.charge('a');
  limiter.charge('new');
  limiter.charge('newer');
  expect(limiter.look('a').remaining).toBe(0);
  expect(limiter.look('other 998').remaining).toBe(1);
});

test('the fields of draft-ietf-httpapi-ratelimit-headers-10, and Retry-After of RFC 9110 §10.2.3', () => {
  expect(toFields(policy, { remaining: 3, waitSeconds: 0, resetSeconds: 4 })).toEqual({
    'RateLimit-Policy': '"client";q=20;w=4',
    RateLimit: '"client";r=3;t=4',
  });
  expect(toFields(policy, { remaining: 0, waitSeconds: 2, resetSeconds: 6 })['Retry-After']).toBe('2');
});

test('one IPv6 network is one caller, a mapped IPv4 address is that address', () => {
  expect(networkOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2');
  expect(networkOf('2001:db8:1:2::9')).toBe('2001:db8:1:2');
  expect(networkOf('2001:DB8::1')).toBe('2001:db8:0:0');
  expect(networkOf('fe80::1%eth0')).toBe('fe80:0:0:0');
  expect(networkOf('::1')).toBe('0:0:0:0');
  expect(networkOf('::ffff:203.0.113.7')).toBe('203.0.113.7');
  expect(networkOf('203.0.113.7')).toBe('203.0.113.7');
  expect(networkOf(null)).toBe('');
});

test('addresses together fail no more often than ten of them', () => {
  const limits = createLimits({ client: 0, directory: 0, failures: 1 }, () => 0);
  let admitted = 0;
  for (let address = 0; address < 100; address++) {
    for (let n = 0; n < 50; n++) if (!isRefused(() => limits.noteFailure(`203.0.113.${address}`))) admitted++;
  }
  expect(admitted).toBe(400);
  expect(limits.client).toBeNull();
});

test('no limit is no limit', () => {
  const limits = createLimits({ client: 0, directory: 0, failures: 0 }, () => 0);
  for (let n = 0; n < 10_000; n++) limits.noteFailure('203.0.113.7');
});
