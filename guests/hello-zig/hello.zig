//! Greets each client by its address, then closes the connection.
//!
//! GREETING in the environment replaces the word, the argument --shout prints capitals.

const std = @import("std");
const Io = std.Io;

pub fn main(init: std.process.Init) !void {
    const env = init.environ_map;
    var buffer: [1024]u8 = undefined;
    var text: Io.Writer = .fixed(&buffer);

    try text.print("{s}, ", .{env.get("GREETING") orelse "Hello"});
    try writeClient(&text, env);
    try text.print("! Your connection to {s} over {s} started me, just for you.\n", .{
        env.get("WASM_SOCK_NAME") orelse "hello-zig",
        env.get("PROTO") orelse "stdin",
    });
    for (try init.minimal.args.toSlice(init.arena.allocator())) |arg|
        if (std.mem.eql(u8, arg, "--shout"))
            for (text.buffered()) |*c| {
                c.* = std.ascii.toUpper(c.*);
            };

    // One text, one write, as each write is a call out of the sandbox.
    try Io.File.stdout().writeStreamingAll(init.io, text.buffered());
}

/// Who is connected: TCP and UDP have an address, a Unix socket has a process.
fn writeClient(text: *Io.Writer, env: *const std.process.Environ.Map) Io.Writer.Error!void {
    if (env.get("REMOTE_ADDR")) |address| {
        try text.print("{s} port {s}", .{ address, env.get("REMOTE_PORT") orelse "?" });
    } else if (env.get("UNIXREMOTEPID")) |pid| {
        try text.print("user {s} in process {s}", .{ env.get("UNIXREMOTEUID") orelse "?", pid });
    } else {
        try text.writeAll("stranger");
    }
}
