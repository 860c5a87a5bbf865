// A short form of tests/slow/fuzz.test.ts.

import { fuzzSuite } from './suite.ts';

fuzzSuite({ configs: 300, trained: 4, files: 100 });
