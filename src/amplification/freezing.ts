// Freezing: the chosen layers rest until the next choice, while the others learn. Inspired by Xiao et al. 2019, "Fast deep
// learning training through intelligently freezing layers", which freezes the layers whose gradients fluctuate most:
// here `selection: inverted`, those of lowest z. Nothing is left out of the reverse sweep, so no time is saved: what can
// be compared is what resting layers do to the accuracy.

/**
 * What the learning rate of a frozen layer is multiplied by. Its weights do not move by a bit, weight decay included; its
 * momentum goes on following the gradients, so that it sets out in the direction of the last steps and not in that of the
 * step it was frozen at; and the running statistics of a batch norm, which are no weights, are kept as ever.
 */
export const FROZEN = 0;
