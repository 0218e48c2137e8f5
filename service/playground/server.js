// What the page asks of the server. Paths are relative: a proxy may show the server below any path.

let key = "";

export function useKey(value) {
  key = value;
}

// The server answered, and said no.
export class Refused extends Error {
  constructor({ code, message, retry_after_ms: retryAfter }) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export class Unreachable extends Error {}

// A stream that ended before its last event.
export class Cut extends Error {}

export async function models() {
  return (await ask("models")).json();
}

export async function metrics() {
  return (await ask("metrics")).text();
}

// The events of one answer as they arrive, each {name, data}.
export async function* stream(image, options, signal) {
  const response = await ask(`predict/stream?${new URLSearchParams(options)}`, { method: "POST", body: image, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) throw new Cut("The connection ended before the answer was whole.");
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/);
      yield { name, data: JSON.parse(data) };
      if (name !== "exit") return;
    }
  }
}

async function ask(path, options = {}) {
  const headers = key ? { "X-API-Key": key } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    throw new Unreachable("The server cannot be reached.", { cause: error });
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Refused(body?.error ?? { code: "http_error", message: `The server answered ${response.status}.` });
}
