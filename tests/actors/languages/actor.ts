/** A guest that plays the part its first argument names, for tests/languages.rs. */

const part = process.argv[1];
if (part == "echo") {
  const buffer = new ArrayBuffer(16384);
  for (let length = process.stdin.read(buffer); length > 0; length = process.stdin.read(buffer)) {
    process.stdout.write(buffer.slice(0, length));
  }
} else if (part == "big") {
  // One write, and the library does not look how much of it was done.
  const bytes = new Uint8Array(i32(parseInt(process.argv[2])));
  for (let at = 0; at < bytes.length; at++) bytes[at] = u8(at % 65_521 % 251);
  process.stdout.write(bytes.buffer);
} else {
  process.stdout.write("bye\n");
  if (part == "exit") process.exit(i32(parseInt(process.argv[2])));
  throw new Error("as it was asked to");
}
