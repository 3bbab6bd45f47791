//! Servers that a guest reaches.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// Sends back what it gets, in upper case.
pub fn echo(address: &str) -> SocketAddr {
    serve(address, |mut stream| {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let _ = stream.write_all(text.to_uppercase().as_bytes());
    })
}

/// Serves each connection in a thread.
pub fn serve(address: &str, with: impl Fn(TcpStream) + Send + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind(address).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let with = with.clone();
            thread::spawn(move || with(stream));
        }
    });
    address
}

/// Sends each datagram back, in upper case.
pub fn udp_echo(address: &str) -> SocketAddr {
    let socket = UdpSocket::bind(address).expect("a port");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut datagram = vec![0; 65536];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            datagram[..length].make_ascii_uppercase();
            let _ = socket.send_to(&datagram[..length], from);
        }
    });
    address
}
