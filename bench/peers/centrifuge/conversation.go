// The commands and events of one connection. Messages are sent by RPC, because an RPC has an answer: the ack. Typing,
// read marks and presence are sent without an answer. All of them are published to the channel of the room.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"time"
	"unicode/utf8"

	"github.com/centrifugal/centrifuge"
	"github.com/google/uuid"
)

// Limit of the commands of one client that run at the same time: that of Centrifuge's example of concurrency. Further
// commands wait in the socket.
const maxConcurrentCommands = 16

// The format of times in Tidings' events: RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z"

type sender struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

func (user sender) credentials() *centrifuge.Credentials {
	info, _ := json.Marshal(user) // Two strings can always be encoded.
	return &centrifuge.Credentials{UserID: user.ID, Info: info}
}

// The body of a command. Only commands without an answer have a type; the others are named by their RPC method.
type command struct {
	Type     string `json:"type"`
	Room     string `json:"room"`
	ClientID string `json:"client_id"`
	Content  string `json:"content"`
	Seq      int64  `json:"seq"`
	Status   string `json:"status"`
}

type ack struct {
	Room      string `json:"room"`
	Seq       int64  `json:"seq"`
	At        string `json:"at"`
	ID        string `json:"id"`
	ClientID  string `json:"client_id"`
	Duplicate bool   `json:"duplicate"`
}

// The fields of Tidings' `message:new` (docs/PROTOCOL.md), in its order, so that events have the same bytes.
type messageNew struct {
	Type     string          `json:"type"`
	Room     string          `json:"room"`
	Seq      int64           `json:"seq"`
	At       string          `json:"at"`
	ID       string          `json:"id"`
	ClientID string          `json:"client_id"`
	Sender   json.RawMessage `json:"sender"`
	Kind     string          `json:"kind"`
	Content  string          `json:"content"`
}

// typing:start, receipt:read and presence:changed, each with some of these fields.
type roomEvent struct {
	Type   string `json:"type"`
	Room   string `json:"room,omitempty"`
	User   string `json:"user"`
	Seq    int64  `json:"seq,omitempty"`
	At     string `json:"at,omitempty"`
	Status string `json:"status,omitempty"`
}

type errorEvent struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

type clientSession struct {
	node   *centrifuge.Node
	store  store
	client *centrifuge.Client
}

func startSession(node *centrifuge.Node, messages store, client *centrifuge.Client) {
	c := &clientSession{node: node, store: messages, client: client}
	slots := make(chan struct{}, maxConcurrentCommands)
	// Handlers are called by the goroutine that reads the connection, so they must not wait for the database.
	start := func(run func()) {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			run()
		}()
	}
	// Any user with a token may join: rooms are only names here.
	client.OnSubscribe(func(event centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
		if !isText(event.Channel, 128) {
			done(centrifuge.SubscribeReply{}, centrifuge.ErrorBadRequest)
			return
		}
		done(centrifuge.SubscribeReply{}, nil)
	})
	client.OnRPC(func(event centrifuge.RPCEvent, done centrifuge.RPCCallback) {
		start(func() { c.handleRPC(event, done) })
	})
	client.OnMessage(func(event centrifuge.MessageEvent) {
		start(func() { c.handleMessage(event.Data) })
	})
}

// Handles an RPC: a command with an answer.
func (c *clientSession) handleRPC(event centrifuge.RPCEvent, done centrifuge.RPCCallback) {
	var body command
	if event.Method != "message:send" {
		done(centrifuge.RPCReply{}, centrifuge.ErrorMethodNotFound)
		return
	}
	if json.Unmarshal(event.Data, &body) != nil || !isText(body.ClientID, 128) || !isText(body.Content, 8000) {
		done(centrifuge.RPCReply{}, centrifuge.ErrorBadRequest)
		return
	}
	if !c.client.IsSubscribed(body.Room) {
		done(centrifuge.RPCReply{}, centrifuge.ErrorPermissionDenied)
		return
	}
	if err := c.send(body, done); err != nil {
		log.Print(err)
	}
}

// Stores a message, acknowledges it and publishes it. The ack is sent before the fan-out, because it does not depend on
// it.
func (c *clientSession) send(body command, done centrifuge.RPCCallback) error {
	id, err := uuid.NewV7()
	if err != nil {
		done(centrifuge.RPCReply{}, centrifuge.ErrorInternal)
		return err
	}
	stored, err := c.store.add(context.Background(), draft{
		id: id, room: body.Room, senderID: c.client.UserID(), clientID: body.ClientID, content: body.Content,
		at: time.Now().UTC().Truncate(time.Millisecond),
	})
	if err != nil {
		done(centrifuge.RPCReply{}, centrifuge.ErrorInternal)
		return err
	}
	at, idText := stored.at.UTC().Format(timeFormat), stored.id.String()
	answer, err := json.Marshal(ack{
		Room: body.Room, Seq: stored.seq, At: at, ID: idText, ClientID: body.ClientID, Duplicate: stored.duplicate,
	})
	if err != nil {
		done(centrifuge.RPCReply{}, centrifuge.ErrorInternal)
		return err
	}
	done(centrifuge.RPCReply{Data: answer}, nil)
	if stored.duplicate {
		return nil
	}
	return c.publish(body.Room, messageNew{
		Type: "message:new", Room: body.Room, Seq: stored.seq, At: at, ID: idText, ClientID: body.ClientID,
		Sender: c.client.Info(), Kind: "text", Content: body.Content,
	})
}

// Handles a command without an answer. If it fails, the client gets an error event.
func (c *clientSession) handleMessage(data []byte) {
	var body command
	err := json.Unmarshal(data, &body)
	if err == nil {
		switch body.Type {
		case "typing:start":
			err = c.typing(body)
		case "message:read":
			err = c.markRead(body)
		case "presence:set":
			err = c.presence(body)
		default:
			err = errors.New("the type is unknown")
		}
	}
	if err != nil {
		text, _ := json.Marshal(errorEvent{Type: "error", Message: err.Error()})
		_ = c.client.Send(text) // This fails only when the client is gone.
	}
}

// A publication reaches all subscribers. So the author gets typing and presence too, and must ignore them.
func (c *clientSession) typing(body command) error {
	if !c.client.IsSubscribed(body.Room) {
		return errors.New("you have not joined this room")
	}
	return c.publish(body.Room, roomEvent{Type: "typing:start", Room: body.Room, User: c.client.UserID()})
}

func (c *clientSession) markRead(body command) error {
	if !c.client.IsSubscribed(body.Room) {
		return errors.New("you have not joined this room")
	}
	if body.Seq < 1 {
		return errors.New("seq is no position")
	}
	user, at := c.client.UserID(), time.Now().UTC()
	moved, err := c.store.moveReadMark(context.Background(), body.Room, user, body.Seq, at)
	if err != nil || !moved {
		return err
	}
	return c.publish(body.Room, roomEvent{
		Type: "receipt:read", Room: body.Room, User: user, Seq: body.Seq, At: at.Format(timeFormat),
	})
}

func (c *clientSession) presence(body command) error {
	if body.Status != "online" && body.Status != "away" {
		return errors.New("status is unknown")
	}
	event := roomEvent{Type: "presence:changed", User: c.client.UserID(), Status: body.Status}
	for _, room := range c.client.Channels() {
		if err := c.publish(room, event); err != nil {
			return err
		}
	}
	return nil
}

func (c *clientSession) publish(room string, event any) error {
	data, err := json.Marshal(event)
	if err != nil {
		return err
	}
	_, err = c.node.Publish(room, data)
	return err
}

func isText(value string, maxCharacters int) bool {
	return value != "" && utf8.RuneCountInString(value) <= maxCharacters
}
