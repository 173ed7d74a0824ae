// A Socket.IO node with connection state recovery over Redis streams, set up as in its documentation. It emits each
// message to the room and then acknowledges it. Settings: REDIS_URL, PORT.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const redis = createClient({ url: process.env.REDIS_URL });
redis.on("error", (error) => process.stderr.write(`${error}\n`));
await redis.connect();

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  serveClient: false,
  adapter: createAdapter(redis),
  connectionStateRecovery: { maxDisconnectionDuration: 2 * 60 * 1000, skipMiddlewares: true },
});
io.on("connection", (socket) => {
  const { room } = socket.handshake.auth;
  // A recovered session has joined its rooms already.
  if (!socket.recovered) socket.join(room);
  socket.on("message", (text, done) => {
    io.to(room).emit("message", text);
    done?.();
  });
});
http.listen(Number(process.env.PORT), "127.0.0.1", () => process.stdout.write("listening\n"));
