//! A guest that plays the part its first argument names, for tests/languages.rs.

const std = @import("std");
const Io = std.Io;

pub fn main(init: std.process.Init) !void {
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    if (std.mem.eql(u8, args[1], "echo")) {
        var in_buffer: [16384]u8 = undefined;
        var out_buffer: [16384]u8 = undefined;
        var in = Io.File.stdin().readerStreaming(init.io, &in_buffer);
        var out = Io.File.stdout().writerStreaming(init.io, &out_buffer);
        _ = try in.interface.streamRemaining(&out.interface);
        try out.interface.flush();
        return;
    }
    try Io.File.stdout().writeStreamingAll(init.io, "bye\n");
    if (std.mem.eql(u8, args[1], "exit"))
        std.process.exit(@truncate(try std.fmt.parseInt(u32, args[2], 10)));
    @panic("as it was asked to");
}
