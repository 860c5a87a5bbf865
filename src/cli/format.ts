// Numbers as people read them on a terminal.

/** `4.2 s`, `45 s`, `2:05`, `1:02:03`. */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (part: number) => String(part).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** `11,173,962`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

/** `1 epoch`, `12 epochs`. */
export function formatNumberOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** `56.7%` of a fraction; `-` where there is none. */
export function formatPercent(fraction: number | null, digits = 1): string {
  return fraction === null || Number.isNaN(fraction) ? '-' : `${(100 * fraction).toFixed(digits)}%`;
}

/** `1.234`; `-` where there is none. */
export function formatLoss(loss: number | null): string {
  if (loss === null || Number.isNaN(loss)) return '-';
  return Math.abs(loss) < 1000 ? loss.toFixed(3) : loss.toExponential(2);
}

/** `12.3`, `1234`: images a second. */
export function formatRate(rate: number): string {
  return rate < 100 ? rate.toFixed(1) : rate.toFixed(0);
}

/** `0.555 G`, `12.4 M`: multiply-adds. */
export function formatMacs(macs: number): string {
  return macs >= 1e8 ? `${(macs / 1e9).toFixed(3)} G` : `${(macs / 1e6).toFixed(2)} M`;
}

/** `15.6 GiB`, `512 MiB`, `83 KiB`. */
export function formatBytes(bytes: number): string {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(0)} MiB` : `${(bytes / 2 ** 10).toFixed(0)} KiB`;
}

/** `0.1`, `0.09944`: four digits of a rate that a curve gives. */
export function formatLearningRate(rate: number): string {
  return String(Number(rate.toPrecision(4)));
}
