/**
 * Many who ask the same at once share one answer, but only one whose reading began after they asked: a joining stream
 * is registered before it asks, and what is read has to cover everything that was sent before it was. So whoever comes
 * while a read is under way waits for the next, together with all others who do.
 */

interface Turn<T> {
  flying: Promise<T>;
  next: Promise<T> | undefined;
}

/** `read`, such that calls with the same key share. Nothing is kept once nobody waits. */
export function shareReads<K, T>(read: (key: K) => Promise<T>): (key: K) => Promise<T> {
  const turns = new Map<K, Turn<T>>();

  function begin(key: K): Promise<T> {
    const turn: Turn<T> = { flying: read(key), next: undefined };
    turns.set(key, turn);
    const finish = (): void => {
      if (turn.next === undefined) turns.delete(key);
    };
    turn.flying.then(finish, finish);
    return turn.flying;
  }

  return (key) => {
    const turn = turns.get(key);
    if (turn === undefined) return begin(key);
    const again = (): Promise<T> => begin(key);
    turn.next ??= turn.flying.then(again, again);
    return turn.next;
  };
}
