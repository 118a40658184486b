export interface StreamEvent {
  name: string;
  data: string;
}

/**
 * Returns a function that takes text of a `text/event-stream` in any pieces and gives the events that it completes.
 * Knows `event` and `data`; `id` is not read because the feed's events carry their number in the data, and `retry` is not
 * obeyed because the client has its own schedule. Throws `RangeError` when one event grows beyond `maxChars`.
 *
 * @see {@link https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream WHATWG HTML §9.2.5}
 */
export function createEventParser(maxChars: number): (text: string) => StreamEvent[] {
  // Kept as pieces: a snapshot comes in hundreds of chunks, and searching a growing string would copy it each time.
  let pieces: string[] = [];
  let data: string[] = [];
  let name = '';
  let size = 0;
  let skipsLineFeed = false;
  let isFirst = true;

  function readLine(line: string, events: StreamEvent[]): void {
    if (line === '') {
      if (data.length > 0) events.push({ name: name || 'message', data: data.join('\n') });
      data = [];
      name = '';
      size = 0;
      return;
    }
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const start = line.charCodeAt(colon + 1) === 0x20 ? colon + 2 : colon + 1;
    const value = colon === -1 ? '' : line.slice(start);
    if (field === 'data') data.push(value);
    else if (field === 'event') name = value;
    else size -= line.length; // comments keep a connection alive for years; they are not part of any event
  }

  return (chunk) => {
    const events: StreamEvent[] = [];
    if (chunk === '') return events;
    let text = isFirst && chunk.startsWith('\ufeff') ? chunk.slice(1) : chunk;
    isFirst = false;
    if (skipsLineFeed && text.startsWith('\n')) text = text.slice(1);
    skipsLineFeed = false;
    let start = 0;
    for (const match of text.matchAll(/\r\n|\r|\n/g)) {
      const piece = text.slice(start, match.index);
      start = match.index + match[0].length;
      skipsLineFeed = match[0] === '\r' && start === text.length;
      size += piece.length;
      if (size > maxChars) throw new RangeError('An event of the stream is too large');
      pieces.push(piece);
      const line = pieces.length === 1 ? piece : pieces.join('');
      pieces = [];
      readLine(line, events);
    }
    const rest = text.slice(start);
    if (rest !== '') {
      size += rest.length;
      if (size > maxChars) throw new RangeError('An event of the stream is too large');
      pieces.push(rest);
    }
    return events;
  };
}
