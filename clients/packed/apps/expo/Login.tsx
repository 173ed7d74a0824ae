import { useState } from "react";
import { Button, SafeAreaView, Text, TextInput } from "react-native";
import { type Session, signIn } from "./chat";

export function Login({ onSession }: { onSession: (session: Session) => void }) {
  const [name, setName] = useState("");
  const [error, setError] = useState("");

  const submit = () => {
    signIn(name.trim()).then(onSession, (thrown: Error) => setError(thrown.message));
  };

  return (
    <SafeAreaView style={{ flex: 1 }}>
      <TextInput
        accessibilityLabel="Name"
        placeholder="Name"
        autoCapitalize="none"
        value={name}
        onChangeText={setName}
      />
      <Button title="Sign in" disabled={name.trim() === ""} onPress={submit} />
      <Text accessibilityRole="alert">{error}</Text>
    </SafeAreaView>
  );
}
