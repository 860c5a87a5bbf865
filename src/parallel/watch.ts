// Notices that nothing moves any more; the main thread keeps it while its workers are busy.

/** How often it looks, in milliseconds. */
const INTERVAL = 1000;

/**
 * Calls `hung` once, when `signs` has not changed for `timeout` seconds.
 * @returns ends the watch.
 */
export function watch(signs: () => number, timeout: number, hung: () => void): () => void {
  const interval = Math.min(INTERVAL, 250 * timeout);
  let seen = signs();
  let looked = performance.now();
  let quiet = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    // Where this thread was held up, or the whole process, the workers may have been held up as well.
    const elapsed = Math.min(now - looked, 2 * interval);
    const current = signs();
    quiet = current === seen ? quiet + elapsed : 0;
    [seen, looked] = [current, now];
    if (quiet < 1000 * timeout) return;
    clearInterval(timer);
    hung();
  }, interval);
  return () => clearInterval(timer);
}
