// Random configs, tiny runs of some, and damaged files: what any user may come with, at full length.

import { fuzzSuite } from '../fuzz/suite.ts';

fuzzSuite({ configs: 10_000, trained: 100, files: 2_000 });
