// A worker that trains as the real one does, and tells the same warning at each call.

import * as Comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { Trainer } from '../../dist/src/parallel/trainer.js';

export default async function serve({ setup, port }) {
  const trainer = await Trainer.create(setup);
  await new Promise((resolve) => {
    const train = (order) => ({
      ...trainer.train(order),
      warning: `no graphs on ${setup.config.devices[0]}`,
    });
    Comlink.expose({ start: () => trainer.engine, train, close: resolve }, nodeEndpoint(port));
  });
  trainer.dispose();
  port.close();
}
