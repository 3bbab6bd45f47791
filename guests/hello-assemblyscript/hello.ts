/** Greets each client by its address, then closes the connection.
 *
 * GREETING in the environment replaces the word, the argument --shout prints capitals. */

/** Who is connected: TCP and UDP have an address, a Unix socket has a process. */
function client(): string {
  if (process.env.has("REMOTE_ADDR")) return `${variable("REMOTE_ADDR")} port ${variable("REMOTE_PORT")}`;
  if (process.env.has("UNIXREMOTEPID")) return `user ${variable("UNIXREMOTEUID")} in process ${variable("UNIXREMOTEPID")}`;
  return "stranger";
}

function variable(name: string, otherwise: string = "?"): string {
  return process.env.has(name) ? process.env.get(name) : otherwise;
}

const greeting = variable("GREETING", "Hello");
const name = variable("WASM_SOCK_NAME", "hello-assemblyscript");
const proto = variable("PROTO", "stdin");
const text = `${greeting}, ${client()}! Your connection to ${name} over ${proto} started me, just for you.\n`;
// One text, one write, as each write is a call out of the sandbox.
process.stdout.write(process.argv.includes("--shout") ? text.toUpperCase() : text);
