package main

import (
	"encoding/json"
	"errors"
	"fmt"

	ibm "github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
)

// row is a record as the tests see it. Bytes are base64, null is null; the timestamp is in milliseconds.
type row struct {
	Key           []byte   `json:"key"`
	Value         []byte   `json:"value"`
	Headers       []header `json:"headers"`
	Timestamp     *int64   `json:"timestamp"`
	Offset        int64    `json:"offset"`
	TimestampType *string  `json:"timestamp_type"`
}

// header is [name, value].
type header struct {
	name  string
	value []byte
}

func (h header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.name, h.value}) }

func (h *header) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&h.name, &h.value})
}

var timestampTypes = map[int8]string{0: "CreateTime", 1: "LogAppendTime"}

// errorName is the broker's error where there is one, and else the kind of the client's own.
func errorName(err error) string {
	var answered *kerr.Error
	if errors.As(err, &answered) {
		return answered.Message
	}
	var refused ibm.KError
	if errors.As(err, &refused) {
		return fmt.Sprintf("KError %d", int16(refused))
	}
	return fmt.Sprintf("%T", err)
}
