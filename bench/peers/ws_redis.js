// A chat on `ws` and ioredis: one subscription a room, one frame a member.
const Redis = require("ioredis").default ?? require("ioredis");
const { WebSocketServer } = require("ws");

const publisher = new Redis(process.argv[2]);
const subscriber = new Redis(process.argv[2]);
const rooms = new Map();

subscriber.on("message", (room, text) => {
  for (const socket of rooms.get(room) ?? []) socket.send(text);
});

const server = new WebSocketServer({ port: 0, host: "127.0.0.1", backlog: 4096 });
server.on("connection", (socket) => {
  let room = "";
  socket.on("message", async (data) => {
    const text = data.toString();
    if (room) return publisher.publish(room, text);
    room = text;
    if (!rooms.has(room)) rooms.set(room, new Set());
    rooms.get(room).add(socket);
    await subscriber.subscribe(room);
    socket.send("joined");
  });
  socket.on("close", () => rooms.get(room)?.delete(socket));
});
server.on("listening", () => console.log(server.address().port));
