// The seed of what is drawn: another one each time, or GRADAMP_TEST_SEED.

export const SEED = Number(process.env.GRADAMP_TEST_SEED ?? Date.now() % 2 ** 31);
