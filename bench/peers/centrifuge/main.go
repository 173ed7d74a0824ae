// A chat server with Centrifuge, written as its documentation recommends. It does what socketio.mjs does: tokens, rooms,
// acks, typing, read marks, presence. REDIS_URL: nodes are connected by the Redis broker. DATABASE_URL: a message is
// acknowledged after it is committed. JWT_SECRET: the secret of tokens (HS256).
//
// All settings of the node are defaults: no write delay, at most 16 messages in a frame, no compression, no history, no
// presence, pings every 25 s. The WebSocket handler has the buffers of Centrifuge's own examples.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/centrifugal/centrifuge"
	"github.com/golang-jwt/jwt/v5"
)

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	secret := os.Getenv("JWT_SECRET")
	if secret == "" {
		return errors.New("JWT_SECRET is not set")
	}
	node, err := centrifuge.New(centrifuge.Config{
		LogLevel:   centrifuge.LogLevelWarn,
		LogHandler: func(entry centrifuge.LogEntry) { log.Printf("%s: %v", entry.Message, entry.Fields) },
	})
	if err != nil {
		return err
	}
	if url := os.Getenv("REDIS_URL"); url != "" {
		if err := useRedisBroker(node, url); err != nil {
			return err
		}
	}
	var messages store = &nullStore{}
	if url := os.Getenv("DATABASE_URL"); url != "" {
		if messages, err = openStore(context.Background(), url); err != nil {
			return err
		}
	}
	node.OnConnecting(func(_ context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		user, err := verifyToken(event.Token, []byte(secret))
		if err != nil {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		return centrifuge.ConnectReply{Credentials: user.credentials()}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		startSession(node, messages, client)
	})
	if err := node.Run(); err != nil {
		return err
	}
	return listen(centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		ReadBufferSize:     1024,
		UseWriteBufferPool: true,
	}))
}

// Connects the nodes: the Redis broker passes publications from each node to all others.
func useRedisBroker(node *centrifuge.Node, url string) error {
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: url})
	if err != nil {
		return err
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{
		Shards: []*centrifuge.RedisShard{shard},
	})
	if err != nil {
		return err
	}
	node.SetBroker(broker)
	return nil
}

// Verifies a token and returns its user.
func verifyToken(token string, secret []byte) (sender, error) {
	var claims struct {
		jwt.RegisteredClaims
		Name string `json:"name"`
	}
	key := func(*jwt.Token) (any, error) { return secret, nil }
	if _, err := jwt.ParseWithClaims(token, &claims, key, jwt.WithValidMethods([]string{"HS256"})); err != nil {
		return sender{}, err
	}
	if !isText(claims.Subject, 128) {
		return sender{}, errors.New("a token without sub")
	}
	user := sender{ID: claims.Subject}
	if isText(claims.Name, 512) {
		user.Name = claims.Name
	}
	return user, nil
}

// Serves on PORT of 127.0.0.1 (0 or none: any). Prints the address for the parent process.
func listen(handler http.Handler) error {
	port := os.Getenv("PORT")
	if port == "" {
		port = "0"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	http.Handle("/connection/websocket", handler)
	fmt.Printf("listening %s\n", listener.Addr())
	return http.Serve(listener, nil)
}
