// A chat on Socket.IO with its Redis adapter.
const { createServer } = require("node:http");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

async function main() {
  const publisher = createClient({ socket: { path: process.argv[2], tls: false } });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const server = createServer();
  const io = new Server(server, { adapter: createAdapter(publisher, subscriber) });
  io.on("connection", (socket) => {
    let room = "";
    socket.on("join", (name) => {
      room = name;
      socket.join(room);
      socket.emit("joined");
    });
    socket.on("say", (text) => io.to(room).emit("say", text));
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => console.log(server.address().port));
}

main();
