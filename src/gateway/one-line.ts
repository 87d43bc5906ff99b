// Text from outside (names of files and processes, messages of the system, what lies on damaged media) in lines that people read: none of it may break a
// line or give a terminal orders.

/** Control characters as `\x0a`, `\x1b`: what they are, and no longer what they do. Everything else stays. */
export function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** The same for text that is JSON, and goes on to be. Its own form escapes only the control characters before the space; the end of a line stays. */
export function harmlessJson(json: string): string {
  return json.replaceAll(/[\u007f-\u009f]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
