/** Many calls side by side, but never more than so many. */

/** The place of an item among all of them, and how its run ended. */
export type Ended<Item, Result> =
  | { readonly index: number; readonly item: Item; readonly result: Result; readonly error?: undefined }
  | { readonly index: number; readonly item: Item; readonly result?: undefined; readonly error: unknown };

type Run<Item, Result> = (item: Item, signal: AbortSignal) => Promise<Result>;

/**
 * Run every item and yield each as it ends. An item is taken from its source while fewer than `concurrency` run or wait
 * to be read. Leaving the loop, or aborting, aborts what runs.
 *
 * @throws what the source throws, or the signal's reason.
 */
export async function* bounded<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  concurrency: number,
  run: Run<Item, Result>,
  signal?: AbortSignal,
): AsyncGenerator<Ended<Item, Result>, void, undefined> {
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const crew = new Crew(run);
  let state = "open" as "open" | "asked" | "empty";
  let failure: { readonly error: unknown } | undefined;

  const ask = async (): Promise<void> => {
    state = "asked";
    try {
      const { done, value } = await source.next();
      state = done ? "empty" : "open";
      if (!done) crew.start(value);
    } catch (error) {
      state = "empty";
      failure = { error };
    }
    crew.wake();
  };

  signal?.addEventListener("abort", crew.wake, { once: true });
  try {
    for (;;) {
      signal?.throwIfAborted();
      if (failure) throw failure.error;
      if (state === "open" && crew.size < concurrency) void ask();
      const ended = crew.take();
      if (ended) yield ended;
      else if (state === "empty" && crew.size === 0) return;
      else await crew.changed();
    }
  } finally {
    signal?.removeEventListener("abort", crew.wake);
    crew.stop(signal?.reason);
    // A source that is still making up its next item is told to end, but not waited for.
    const closed = state === "empty" ? undefined : Promise.resolve(source.return?.());
    if (state === "asked") closed?.catch(() => {});
    else await closed;
  }
}

/** What runs, and what ended and was not taken yet. */
class Crew<Item, Result> {
  readonly #run: Run<Item, Result>;
  readonly #stopping = new AbortController();
  readonly #ended: Ended<Item, Result>[] = [];
  #numStarted = 0;
  #numRunning = 0;
  #resume: (() => void) | undefined;

  constructor(run: Run<Item, Result>) {
    this.#run = run;
  }

  get size(): number {
    return this.#numRunning + this.#ended.length;
  }

  start(item: Item): void {
    void this.#watch(item, this.#numStarted);
    this.#numStarted += 1;
  }

  take(): Ended<Item, Result> | undefined {
    return this.#ended.shift();
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
      this.#ended.push({ index, item, result: await this.#run(item, this.#stopping.signal) });
    } catch (error) {
      this.#ended.push({ index, item, error });
    }
    this.#numRunning -= 1;
    this.wake();
  }
}
