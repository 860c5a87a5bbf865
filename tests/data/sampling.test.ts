import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allPositions } from '../../src/data/partition.ts';
import { epochOrder, globalBatch, passesOf, stepCount } from '../../src/data/sampling.ts';
import { draw, Stream } from '../../src/random.ts';

describe('epochOrder', () => {
  it('holds every sample once', () => {
    for (const size of [0, 1, 2, 777, 50_000]) {
      const sorted = epochOrder(3, 1, allPositions(size)).sort();
      expect(sorted).toEqual(Uint32Array.from({ length: size }, (_, i) => i));
    }
  });

  it('sorts the samples by their own random keys', () => {
    const order = [...epochOrder(5, 2, allPositions(300))];
    const key = (index: number) => draw(5, Stream.order, 2, index)[0];
    for (let i = 1; i < order.length; i++) expect(key(order[i - 1])).toBeLessThan(key(order[i]));
  });

  it('is the same for the same seed and epoch, and another for others', () => {
    expect(epochOrder(5, 2, allPositions(300))).toEqual(epochOrder(5, 2, allPositions(300)));
    expect(epochOrder(5, 2, allPositions(300))).not.toEqual(epochOrder(5, 3, allPositions(300)));
    expect(epochOrder(5, 2, allPositions(300))).not.toEqual(epochOrder(6, 2, allPositions(300)));
  });

  it('visits the samples of a smaller set in the order in which a larger one visits them', () => {
    const larger = [...epochOrder(0, 1, allPositions(500))].filter((index) => index < 200);
    expect([...epochOrder(0, 1, allPositions(200))]).toEqual(larger);
  });

  it('puts a sample anywhere with equal chance', () => {
    // 4,000 epochs of 10 samples: each of the 100 counts is 400 +- 19 (one standard deviation).
    const counts = new Uint32Array(100);
    for (let epoch = 0; epoch < 4000; epoch++) {
      epochOrder(1, epoch, allPositions(10)).forEach((sample, position) => {
        counts[10 * sample + position]++;
      });
    }
    expect(Math.min(...counts)).toBeGreaterThan(310);
    expect(Math.max(...counts)).toBeLessThan(490);
  });

  it('visits those that are left in the order in which all are visited, whichever are left out', () => {
    const left = Uint32Array.of(499, 3, 250, 17, 80, 81);
    const among = [...epochOrder(4, 2, allPositions(500))].filter((position) => left.includes(position));
    expect([...epochOrder(4, 2, left)]).toEqual(among);
  });

  it('refuses positions that its keys cannot tell apart', () => {
    expect(epochOrder(0, 0, Uint32Array.of(2 ** 21 - 1))).toEqual(Uint32Array.of(2 ** 21 - 1));
    expect(() => epochOrder(0, 0, Uint32Array.of(2 ** 21))).toThrow(
      'expected positions below 2097152, got 2097152',
    );
  });
});

describe('globalBatch', () => {
  it('cuts the order into batches and keeps the last short one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 90 }), (size, batchSize) => {
        const order = epochOrder(0, 1, allPositions(size));
        const batches = Array.from({ length: stepCount(size, batchSize) }, (_, step) =>
          globalBatch(order, step, batchSize),
        );
        expect(batches.flatMap((batch) => [...batch])).toEqual([...order]);
        for (const batch of batches.slice(0, -1)) expect(batch.length).toBe(batchSize);
        expect(batches[batches.length - 1].length).toBeGreaterThan(0);
      }),
    );
  });

  it('gives 391 steps an epoch for 50,000 samples in batches of 128, the last of 80', () => {
    expect(stepCount(50_000, 128)).toBe(391);
    expect(globalBatch(new Uint32Array(50_000), 390, 128).length).toBe(80);
  });
});

describe('passesOf', () => {
  const passes = (options: { batch: number; worldSize: number; microBatch?: number }) =>
    Array.from({ length: options.worldSize }, (_, rank) => passesOf({ ...options, rank }));
  const sizes = {
    batch: fc.integer({ min: 1, max: 300 }),
    worldSize: fc.integer({ min: 1, max: 9 }),
    microBatch: fc.integer({ min: 1, max: 70 }),
  };

  it('covers the batch from start to end, in rank order, without an empty pass but where workers outnumber samples', () => {
    const microBatch = fc.option(sizes.microBatch, { nil: undefined });
    fc.assert(
      fc.property(fc.record({ ...sizes, microBatch }), (options) => {
        const all = passes(options).flat();
        let position = 0;
        for (const [start, end] of all) {
          expect(start).toBe(position);
          if (options.microBatch !== undefined || options.batch >= options.worldSize) {
            expect(end).toBeGreaterThan(start);
          }
          position = end;
        }
        expect(position).toBe(options.batch);
      }),
    );
  });

  it('gives every worker one pass, of sizes that differ by one at most, without microBatch', () => {
    fc.assert(
      fc.property(fc.record({ batch: sizes.batch, worldSize: sizes.worldSize }), (options) => {
        const shares = passes(options).map((own) => {
          expect(own.length).toBe(1);
          const [[start, end]] = own;
          return end - start;
        });
        expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('makes the same passes for any number of workers with microBatch, dealt out evenly', () => {
    fc.assert(
      fc.property(fc.record(sizes), (options) => {
        const dealt = passes(options);
        expect(dealt.flat()).toEqual(passes({ ...options, worldSize: 1 }).flat());
        for (const [start, end] of dealt.flat().slice(0, -1)) expect(end - start).toBe(options.microBatch);
        const counts = dealt.map((own) => own.length);
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('keeps the short pass at the end: 80 samples by 32 over two workers', () => {
    const options = { batch: 80, worldSize: 2, microBatch: 32 };
    expect(passes(options)).toEqual([[[0, 32]], [[32, 64], [64, 80]]]); // biome-ignore format: one line a batch
  });

  it('leaves workers without work where there is too little', () => {
    expect(passes({ batch: 2, worldSize: 3 })).toEqual([[[0, 0]], [[0, 1]], [[1, 2]]]);
    expect(passes({ batch: 20, worldSize: 2, microBatch: 32 }).map((own) => own.length)).toEqual([0, 1]);
  });
});
