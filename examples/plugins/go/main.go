// The order-routing transform in Go; its rules are in examples/plugins/README.md.
package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"millrace.example/order-routing/millrace"
)

const (
	identifierLengthMax = 64
	itemsMax            = 1_000
	quantityMax         = 10_000
	unitPriceCentsMax   = 100_000_000
)

var (
	regions    = []string{"eu", "us", "apac"}
	priorities = []string{"standard", "express", "same-day"}
)

type order struct {
	id, customer, region, priority string
	items                          int
	totalCents                     uint64
}

type summary struct {
	OrderID    string `json:"order_id"`
	CustomerID string `json:"customer_id"`
	Region     string `json:"region"`
	Priority   string `json:"priority"`
	Items      int    `json:"items"`
	TotalCents uint64 `json:"total_cents"`
}

type orderRouting struct {
	// Index of each output topic by its name without the prefix.
	topics map[string]int
}

func init() {
	millrace.Register(&orderRouting{})
}

// Never called: the host calls the exports.
func main() {}

func (routing *orderRouting) Start(context *millrace.Context) error {
	prefix, ok := context.Config["prefix"]
	if !ok {
		prefix = "orders"
	}
	indexes := make(map[string]int)
	for index, topic := range context.Outputs {
		indexes[topic] = index
	}
	routing.topics = make(map[string]int)
	for _, name := range append([]string{"priority", "rejected"}, regions...) {
		topic := prefix + "." + name
		index, ok := indexes[topic]
		if !ok {
			return fmt.Errorf("the deployment has no output topic `%s`", topic)
		}
		routing.topics[name] = index
	}
	return nil
}

func (routing *orderRouting) Transform(record *millrace.Record, out *millrace.Outputs) error {
	order, reason := read(record.Value)
	if reason != "" {
		because := millrace.Header{Key: "rejected-because", Value: reason}
		out.Send(routing.topics["rejected"], record, record.Key, record.Value, because)
		return nil
	}
	out.Send(routing.topics[order.region], record, []byte(order.customer), record.Value,
		millrace.Header{Key: "order-priority", Value: order.priority},
		millrace.Header{Key: "order-total-cents", Value: strconv.FormatUint(order.totalCents, 10)})
	if order.priority == "standard" {
		return nil
	}
	value, err := json.Marshal(summary{
		order.id, order.customer, order.region, order.priority, order.items, order.totalCents,
	})
	if err != nil {
		return err
	}
	out.SendBare(routing.topics["priority"], record, []byte(order.id), value)
	return nil
}

// The order in a record's value, or the first thing that is wrong with it.
func read(value []byte) (order, string) {
	var made order
	if value == nil {
		return made, "no value"
	}
	var fields map[string]json.RawMessage
	// Go would replace what is not UTF-8.
	if !utf8.Valid(value) || json.Unmarshal(value, &fields) != nil || fields == nil {
		return made, "not a JSON object"
	}
	made.id, made.customer = text(fields["order_id"]), text(fields["customer_id"])
	made.region, made.priority = text(fields["region"]), text(fields["priority"])
	switch {
	case !isIdentifier(made.id):
		return made, "no order_id"
	case !isIdentifier(made.customer):
		return made, "no customer_id"
	case !isOneOf(made.region, regions):
		return made, "unknown region"
	case !isOneOf(made.priority, priorities):
		return made, "unknown priority"
	}
	var items []json.RawMessage
	if json.Unmarshal(fields["items"], &items) != nil || len(items) == 0 || len(items) > itemsMax {
		return made, "no items"
	}
	made.items = len(items)
	for _, raw := range items {
		var item map[string]json.RawMessage
		if json.Unmarshal(raw, &item) != nil {
			return made, "bad item"
		}
		quantity, quantityOk := count(item["quantity"], 1, quantityMax)
		price, priceOk := count(item["unit_price_cents"], 0, unitPriceCentsMax)
		if !quantityOk || !priceOk {
			return made, "bad item"
		}
		made.totalCents += quantity * price
	}
	return made, ""
}

// The string that is there, or none.
func text(raw json.RawMessage) string {
	var value string
	if json.Unmarshal(raw, &value) != nil {
		return ""
	}
	return value
}

func count(raw json.RawMessage, least, most uint64) (uint64, bool) {
	value, err := strconv.ParseUint(string(raw), 10, 64)
	return value, err == nil && value >= least && value <= most
}

func isIdentifier(text string) bool {
	for _, char := range []byte(text) {
		letter := char|0x20 >= 'a' && char|0x20 <= 'z'
		digit := char >= '0' && char <= '9'
		if !letter && !digit && char != '-' && char != '_' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= identifierLengthMax
}

func isOneOf(text string, known []string) bool {
	for _, one := range known {
		if text == one {
			return true
		}
	}
	return false
}
