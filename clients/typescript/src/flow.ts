/** Many calls side by side, so many under way at most. */

/** The place of an item among all of them, and how its run ended. */
export type Ended<Item, Result> =
  | { readonly index: number; readonly item: Item; readonly result: Result; readonly error?: undefined }
  | { readonly index: number; readonly item: Item; readonly result?: undefined; readonly error: unknown };

/** How many runs are under way, those included whose end nobody has read yet, and in which order they are read. */
export interface Flow {
  readonly maxInFlight: number;
  /** As the items came, not as they end. */
  readonly inOrder: boolean;
  /** Aborting aborts what runs, and the loop throws the signal's reason. */
  readonly signal: AbortSignal | undefined;
}

type Run<Item, Result> = (item: Item, signal: AbortSignal) => Promise<Result>;

/**
 * Run every item and yield how it ended. The next one is taken from its source when there is room for it. Leaving the
 * loop aborts what runs.
 *
 * @throws what the source throws, the signal's reason, RangeError if `maxInFlight` is less than 1.
 */
export async function* bounded<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  run: Run<Item, Result>,
  { maxInFlight, inOrder, signal }: Flow,
): AsyncGenerator<Ended<Item, Result>, void, undefined> {
  if (!(maxInFlight >= 1)) throw new RangeError(`maxInFlight must be at least 1, got ${maxInFlight}`);
  const source = new Source(items);
  const crew = new Crew(run);
  signal?.addEventListener("abort", crew.wake, { once: true });
  try {
    for (;;) {
      signal?.throwIfAborted();
      source.throwIfBroken();
      if (source.isReady && crew.size < maxInFlight) void source.next(crew.start).then(crew.wake);
      const ended = crew.take(inOrder);
      if (ended) yield ended;
      else if (source.isEmpty && crew.size === 0) return;
      else await crew.changed();
    }
  } finally {
    signal?.removeEventListener("abort", crew.wake);
    crew.stop(signal?.reason);
    await source.close();
  }
}

/** Where items come from, one at a time. */
class Source<Item> {
  readonly #items: Iterator<Item> | AsyncIterator<Item>;
  #isAsked = false;
  #isEmpty = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(items: Iterable<Item> | AsyncIterable<Item>) {
    this.#items = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  }

  get isReady(): boolean {
    return !this.#isAsked && !this.#isEmpty;
  }

  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  /** Pass the next item on, if there is one. */
  async next(take: (item: Item) => void): Promise<void> {
    this.#isAsked = true;
    try {
      const { done, value } = await this.#items.next();
      this.#isEmpty = done ?? false;
      if (!done) take(value);
    } catch (error) {
      this.#isEmpty = true;
      this.#failure = { error };
    }
    this.#isAsked = false;
  }

  throwIfBroken(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Tell the items that no more are wanted; while they make up the next one, do not wait for them. */
  async close(): Promise<void> {
    if (this.#isEmpty) return;
    const closed = Promise.resolve(this.#items.return?.());
    if (this.#isAsked) closed.catch(() => {});
    else await closed;
  }
}

/** What runs, and what ended and was not taken yet. */
class Crew<Item, Result> {
  readonly #run: Run<Item, Result>;
  readonly #stopping = new AbortController();
  readonly #ended = new Map<number, Ended<Item, Result>>();
  #numStarted = 0;
  #numTaken = 0;
  #numRunning = 0;
  #resume: (() => void) | undefined;

  constructor(run: Run<Item, Result>) {
    this.#run = run;
  }

  get size(): number {
    return this.#numRunning + this.#ended.size;
  }

  readonly start = (item: Item): void => {
    void this.#watch(item, this.#numStarted);
    this.#numStarted += 1;
  };

  take(inOrder: boolean): Ended<Item, Result> | undefined {
    const index = inOrder ? this.#numTaken : this.#ended.keys().next().value;
    const ended = index === undefined ? undefined : this.#ended.get(index);
    if (!ended) return undefined;
    this.#ended.delete(ended.index);
    this.#numTaken += 1;
    return ended;
  }

  stop(reason: unknown): void {
    this.#stopping.abort(reason);
  }

  /** Wait until something ended, or `wake` is called. */
  changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }

  readonly wake = (): void => this.#resume?.();

  async #watch(item: Item, index: number): Promise<void> {
    this.#numRunning += 1;
    try {
      this.#ended.set(index, { index, item, result: await this.#run(item, this.#stopping.signal) });
    } catch (error) {
      this.#ended.set(index, { index, item, error });
    }
    this.#numRunning -= 1;
    this.wake();
  }
}
